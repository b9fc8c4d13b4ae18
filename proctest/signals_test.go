package proctest

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// How a daemon ends, and that what it had taken in arrives in spite of it.
func TestTheEndOfADaemonLosesNothing(t *testing.T) {
	for _, row := range []struct {
		name     string
		shutdown string
		hang     bool // the sink does not answer
		end      func(d *daemon)
		code     int
		before   bool // the records are delivered before the daemon ends; else after the next start
	}{
		{name: "SIGTERM drains the batch that is still open", shutdown: "{grace: 30s}", end: (*daemon).term, before: true},
		{name: "SIGINT does, too", shutdown: "{grace: 30s}", end: (*daemon).interrupt, before: true},
		{name: "without drain the open batch waits for the next start", shutdown: "{grace: 30s, drain: false}", end: (*daemon).term},
		{name: "the sink hangs until the grace is over", shutdown: "{grace: 1s}", hang: true, end: (*daemon).term},
		{name: "the second SIGTERM ends it at once", shutdown: "{grace: 15m}", hang: true, end: (*daemon).termTwice, code: 143},
		{name: "the second SIGINT ends it at once", shutdown: "{grace: 15m}", hang: true, end: (*daemon).interruptTwice, code: 130},
		{name: "SIGKILL", shutdown: "{grace: 30s}", end: (*daemon).kill, code: 137},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newStore(t)
			if row.hang {
				s.hold()
			}
			dir, addr := t.TempDir(), freeAddr(t)
			const yaml = `
data_dir: data
shutdown: %s
pipelines:
  app:
    sources: [{http: {listen: %q, path: /}}]
    batch: {interval: 15m}
    destinations: [{s3: {bucket: logs, endpoint: %q, %s}}]
`
			config := writeConfig(t, dir, yaml, row.shutdown, addr, s.URL, s3Access)
			d := start(t, launch{config: config}).ready()
			records := numbered("r", 500)
			mustPost(t, "http://"+addr+"/", records)
			row.end(d)
			if code := d.wait(patience); code != row.code {
				t.Errorf("exit code %d, want %d", code, row.code)
			}
			s.release()
			got := all(parseAll(t, "app-s3", s.listing("logs")))
			if delivered := len(got) > 0; delivered != row.before {
				t.Errorf("%d records were delivered before the daemon ended, want that: %t", len(got), row.before)
			}
			writeConfig(t, dir, yaml, "{}", addr, s.URL, s3Access)
			start(t, launch{config: config}).ready().stop()
			want(t, "the bucket", all(parseAll(t, "app-s3", s.listing("logs"))), records)
		})
	}
}

func (d *daemon) term()      { d.signal(syscall.SIGTERM) }
func (d *daemon) interrupt() { d.signal(syscall.SIGINT) }

func (d *daemon) termTwice()      { d.twice(syscall.SIGTERM) }
func (d *daemon) interruptTwice() { d.twice(syscall.SIGINT) }

// twice sends a signal, waits until the daemon has taken it (two of one kind at once are one), and sends another.
func (d *daemon) twice(sig syscall.Signal) {
	d.t.Helper()
	d.signal(sig)
	eventually(d.t, patience, "the daemon closes its doors", func() bool { return d.get("/readyz") != http.StatusOK })
	d.signal(sig)
}

// Stdin that blocks, for want of input or of room, does not hold up the end.
func TestStdinDoesNotHoldUpTheEnd(t *testing.T) {
	for _, row := range []struct {
		name string
		full bool
	}{
		{"nothing comes", false},
		{"the buffer is full", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newStore(t)
			s.hold()
			dir := t.TempDir()
			config := writeConfig(t, dir, `
data_dir: data
shutdown: {grace: 2s}
pipelines:
  app:
    sources: [{stdin: {}}]
    buffer: {max_bytes: 32MiB}
    batch: {size: 1MiB, interval: 100ms}
    destinations: [{s3: {bucket: logs, endpoint: %q, compression: none, %s}}]
`, s.URL, s3Access)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			d := start(t, launch{config: config, stdin: r}).ready()
			r.Close()
			line := strings.Repeat("x", 999) + "\n"
			if row.full {
				fed := make(chan int)
				go func() {
					n := 0
					for ; n < 100_000; n++ {
						if _, err := io.WriteString(w, line); err != nil {
							break
						}
					}
					fed <- n
				}()
				eventually(t, patience, "the buffer is full", func() bool { return d.status().Pipelines["app"].Full != "" })
				d.term()
				if code := d.wait(patience); code != 0 {
					t.Errorf("exit code %d, want 0", code)
				}
				if n := <-fed; n == 100_000 {
					t.Error("100 MB went into a buffer of 32 MiB")
				}
				return
			}
			if _, err := io.WriteString(w, line); err != nil {
				t.Fatal(err)
			}
			eventually(t, patience, "the line is taken in", func() bool { return d.status().Pipelines["app"].Appended.Records == 1 })
			d.term()
			if code := d.wait(patience); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
		})
	}
}

// run --once takes finite sources to their present end, delivers, and says with its exit code how it went.
func TestOnce(t *testing.T) {
	const toFile = `destinations: [{file: {path: out}}]`
	for _, row := range []struct {
		name, pipeline, stdin string
		code                  int
		says                  string
		delivered             []string
		refused               []string
	}{
		{
			name: "the unterminated last line, too", pipeline: `{sources: [{stdin: {}}], ` + toFile + `}`,
			stdin: "one\ntwo\nthree", delivered: []string{"one", "two", "three"},
		},
		{
			name: "nothing to read", pipeline: `{sources: [{stdin: {}}], ` + toFile + `}`,
		},
		{
			name: "a source that never ends", pipeline: `{sources: [{http: {listen: "ADDR", path: /logs}}], ` + toFile + `}`,
			code: 1, says: "/logs",
		},
		{
			name:     "records that were refused",
			pipeline: `{sources: [{stdin: {}}], retry: {give_up_after: 1s}, error_output: {file: {path: errors}}, destinations: [{s3: {bucket: logs, endpoint: "http://ADDR", ` + s3Access + `}}]}`,
			stdin:    "one\ntwo\n", code: 3, refused: []string{"one", "two"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newStore(t)
			s.answer(http.StatusServiceUnavailable)
			dir := t.TempDir()
			pipeline := strings.NewReplacer("ADDR", freeAddr(t), "URL", s.URL).Replace(row.pipeline)
			config := writeConfig(t, dir, "data_dir: data\npipelines:\n  app: %s\n", pipeline)
			code, out := run(t, strings.NewReader(row.stdin), "run", "--once", "-c", config)
			if code != row.code || !strings.Contains(out, row.says) {
				t.Errorf("exit code %d, want %d and %q:\n%s", code, row.code, row.says, out)
			}
			want(t, "the folder", all(parseAll(t, "app-file", folder(t, filepath.Join(dir, "out")))), row.delivered)
			want(t, "the error output", refusals(t, filepath.Join(dir, "errors")), row.refused)
		})
	}
}

// refusals reads the records out of an error output in a folder.
func refusals(t *testing.T, dir string) []string {
	t.Helper()
	var records []string
	for name, body := range folder(t, dir) {
		for _, line := range lines(t, name, body) {
			var r struct {
				RawData      []byte
				ErrorCode    string
				ErrorMessage string
				Pipeline     string
				Destination  string
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("%s: %v: %s", name, err, line)
			}
			if r.ErrorCode == "" || r.ErrorMessage == "" || r.Pipeline != "app" || r.Destination == "" {
				t.Errorf("%s: a field is missing: %s", name, line)
			}
			records = append(records, string(r.RawData))
		}
	}
	return records
}

// The daemon says on standard error, one line a pipeline, what it reads, where it goes and when to expect something.
func TestTheStartLineSaysWhatHappens(t *testing.T) {
	ds := newDeliveries(t)
	d := start(t, launch{config: ds.with(t, "{}", fileTo("archive"))}).ready()
	for line := bufio.NewScanner(strings.NewReader(d.output.String())); line.Scan(); {
		if s := line.Text(); strings.Contains(s, "app") && strings.Contains(s, ds.addr) && strings.Contains(s, "archive") {
			d.stop()
			return
		}
	}
	t.Errorf("no line names the pipeline, its door %s and its destination:\n%s", ds.addr, d.output)
}
