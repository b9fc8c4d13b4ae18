// Package proctest tests the real binary as a whole process: killed, traced, cloned, reconfigured, starved of disk,
// given a backlog. It is the outermost proof of the promise in README.md; nothing in here knows hydrant's insides
// except the layout of data_dir.
package proctest

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// scratch is a folder of this test process, for the binaries.
var scratch string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "hydrant-proctest-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	scratch = dir
	code := m.Run()
	os.RemoveAll(dir)
	http.DefaultClient.CloseIdleConnections()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// The binaries under test, each built once when it is first asked for.
var (
	plainBinary = sync.OnceValues(func() (string, error) { return build("hydrant", "CGO_ENABLED=0", "-trimpath", "-ldflags=-s -w") })
	raceBinary  = sync.OnceValues(func() (string, error) { return build("hydrant-race", "CGO_ENABLED=1", "-race") })
	offBinary   = sync.OnceValues(func() (string, error) {
		return build("hydrant-sabotage", "CGO_ENABLED=0", "-trimpath", "-tags=sabotage")
	})
)

func build(name, env string, args ...string) (string, error) {
	bin := filepath.Join(scratch, name)
	cmd := exec.Command("go", append(append([]string{"build", "-o", bin}, args...), "../cmd/hydrant")...)
	cmd.Env = append(os.Environ(), env)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return bin, nil
}

// binary is the daemon as make build makes it, racing has the race detector in it, sabotaged heeds HYDRANT_SABOTAGE.
func binary(t testing.TB) string    { return must(t, plainBinary) }
func racing(t testing.TB) string    { return must(t, raceBinary) }
func sabotaged(t testing.TB) string { return must(t, offBinary) }

func must(t testing.TB, build func() (string, error)) string {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}
