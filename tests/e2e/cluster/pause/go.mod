// The first process of every pod of the test cluster: see pause.go.
module graftwork.dev/e2e/pause

go 1.26.0
