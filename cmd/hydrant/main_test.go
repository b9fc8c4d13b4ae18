package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/sinks"
	"github.com/hydrantd/hydrant/sinks/file"
)

func TestMain(m *testing.M) {
	testscript.Main(leakless{m}, map[string]func(){
		"hydrant":      main,
		"hydrant-test": func() { os.Exit(start(os.Args[1:], withTestKinds())) },
	})
}

// leakless is goleak.VerifyTestMain for testscript.Main.
type leakless struct{ *testing.M }

func (l leakless) Run() int {
	code := l.M.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	return code
}

// withTestKinds are the kinds of the product and two that it has not: a file destination that refuses each record with
// "bad" in it, and one that never answers.
func withTestKinds() kinds {
	k := kinds{sources: builtin.sources, sinks: map[string]sinks.Kind{}}
	for name, kind := range builtin.sinks {
		k.sinks[name] = kind
	}
	wrapped := func(wrap func(sinks.Sink) sinks.Sink) sinks.Kind {
		return sinks.Kind{Config: file.Kind.Config, Open: func(cfg any, d sinks.Deps) (sinks.Sink, error) {
			s, err := file.Kind.Open(cfg, d)
			if err != nil {
				return nil, err
			}
			return wrap(s), nil
		}}
	}
	k.sinks["choosy"] = wrapped(func(s sinks.Sink) sinks.Sink { return choosy{s} })
	k.sinks["mute"] = wrapped(func(s sinks.Sink) sinks.Sink { return mute{s} })
	k.sinks["broken"] = sinks.Kind{Config: file.Kind.Config, Open: func(any, sinks.Deps) (sinks.Sink, error) {
		return nil, errors.New("ca.pem: no certificate in it")
	}}
	return k
}

type choosy struct{ sinks.Sink }

func (c choosy) Encoder(b sinks.Batch, sp sinks.Spool) (sinks.Encoder, error) {
	e, err := c.Sink.Encoder(b, sp)
	return choosyEncoder{e}, err
}

type choosyEncoder struct{ sinks.Encoder }

func (c choosyEncoder) Add(r *hydrant.Record) error {
	if bytes.Contains(r.Data, []byte("bad")) {
		return &sinks.Refusal{Code: "Bad", Message: "the record says so itself"}
	}
	return c.Encoder.Add(r)
}

type mute struct{ sinks.Sink }

func (mute) Ship(ctx context.Context, _ *sinks.Shipment) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("TZ", "UTC")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   exits,
			"ready":   ready,
			"closing": closing,
			"holding": holding,
			"get":     get,
			"post":    post,
			"free":    free,
			"replace": replace,
		},
	})
}

// exits CODE COMMAND...: runs it and compares its exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	code := 0
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		code, err = failed.ExitCode(), nil
	}
	ts.Check(err)
	if code != want {
		ts.Fatalf("exit code %d, want %d\n%s%s", code, want, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

// ask asks the daemon on a data_dir; status 0: it does not answer.
func askSocket(dir, path string) (int, []byte) {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dialDaemon(ctx, dir) },
	}}
	answer, err := client.Get("http://hydrant" + path)
	if err != nil {
		return 0, nil
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, nil
	}
	return answer.StatusCode, text
}

// until tries again and again, for a minute.
func until(ok func() bool) bool {
	tick, end := time.NewTicker(5*time.Millisecond), time.NewTimer(time.Minute)
	defer tick.Stop()
	defer end.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-end.C:
			return false
		}
	}
	return true
}

// ready DIR: waits until the daemon on that data_dir takes records in.
func ready(ts *testscript.TestScript, _ bool, args []string) {
	if !until(func() bool { status, _ := askSocket(ts.MkAbs(args[0]), "/readyz"); return status == 200 }) {
		ts.Fatalf("the daemon on %s is not ready", args[0])
	}
}

// holding DIR: waits until the daemon on that data_dir answers, and says that it takes not all records in.
func holding(ts *testscript.TestScript, _ bool, args []string) {
	if !until(func() bool { status, _ := askSocket(ts.MkAbs(args[0]), "/readyz"); return status == 503 }) {
		ts.Fatalf("the daemon on %s does not hold", args[0])
	}
}

// closing DIR: waits until it does not any more.
func closing(ts *testscript.TestScript, _ bool, args []string) {
	if !until(func() bool { status, _ := askSocket(ts.MkAbs(args[0]), "/readyz"); return status != 200 }) {
		ts.Fatalf("the daemon on %s does not stop", args[0])
	}
}

// get DIR PATH FILE: writes what the daemon answers to a file.
func get(ts *testscript.TestScript, _ bool, args []string) {
	status, text := askSocket(ts.MkAbs(args[0]), args[1])
	if status != 200 {
		ts.Fatalf("%s: %d %s", args[1], status, text)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), text, 0o600))
}

// post URL FILE STATUS: posts a file and compares the status.
func post(ts *testscript.TestScript, _ bool, args []string) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Post(args[0], "", bytes.NewReader([]byte(ts.ReadFile(args[1]))))
	ts.Check(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	ts.Check(err)
	if strconv.Itoa(answer.StatusCode) != args[2] {
		ts.Fatalf("%s: %s %s, want %s", args[0], answer.Status, text, args[2])
	}
}

// free NAME: sets a variable to an address where nothing listens.
func free(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer l.Close()
	ts.Setenv(args[0], l.Addr().String())
}

// replace OLD NEW FILE: edits a file; \n in NEW is a line end.
func replace(ts *testscript.TestScript, _ bool, args []string) {
	name := ts.MkAbs(args[2])
	text, with := []byte(ts.ReadFile(args[2])), strings.ReplaceAll(args[1], `\n`, "\n")
	if !bytes.Contains(text, []byte(args[0])) {
		ts.Fatalf("%s has no %q", filepath.Base(name), args[0])
	}
	ts.Check(os.WriteFile(name, bytes.ReplaceAll(text, []byte(args[0]), []byte(with)), 0o600))
}
