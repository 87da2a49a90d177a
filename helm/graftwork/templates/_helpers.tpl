{{- define "graftwork.name" -}}
{{ printf "%s-operator" .Release.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "graftwork.selector" -}}
app.kubernetes.io/name: graftwork-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "graftwork.labels" -}}
{{ include "graftwork.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* Of what a Prometheus looks for. */}}
{{- define "graftwork.monitorLabels" -}}
{{ include "graftwork.labels" . }}
{{- with .Values.metrics.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "graftwork.mlflowSelector" -}}
app.kubernetes.io/name: graftwork-mlflow
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "graftwork.mlflowLabels" -}}
{{ include "graftwork.mlflowSelector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "graftwork.roleLabels" -}}
app.kubernetes.io/name: graftwork-roles
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "graftwork.smokeTestLabels" -}}
app.kubernetes.io/name: graftwork-smoke-test
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "graftwork.image" -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- define "graftwork.mlflow" -}}
{{ printf "%s-mlflow" .Release.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The MLflow server that everything uses; empty without one. */}}
{{- define "graftwork.trackingUri" -}}
{{- if .Values.mlflow.trackingUri -}}
{{ .Values.mlflow.trackingUri }}
{{- else if .Values.mlflow.server.enabled -}}
http://{{ include "graftwork.mlflow" . }}.{{ .Release.Namespace }}:5000
{{- end }}
{{- end }}

{{/* What the operator may do where its objects are. */}}
{{- define "graftwork.rules" -}}
- apiGroups: [graftwork.dev]
  resources: [finetunejobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [graftwork.dev]
  resources: [inferenceendpoints]
  verbs: [get, list, watch]
- apiGroups: [graftwork.dev]
  resources: [finetunejobs/status, inferenceendpoints/status]
  verbs: [patch]
- apiGroups: [ray.io]
  resources: [rayjobs, rayservices]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [serviceaccounts, services]
  verbs: [get, create, patch, delete]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies, ingresses]
  verbs: [get, create, patch, delete]
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, create, patch, delete]
{{- end }}
