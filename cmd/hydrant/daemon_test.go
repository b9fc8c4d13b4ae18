package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/config"
)

func TestSpoolShare(t *testing.T) {
	const mib = int64(1 << 20)
	for _, c := range []struct {
		name            string
		concurrency     int
		batch, maxBytes int64
		destinations    int
		want            int64
	}{
		{"what the batches need", 4, 8 * mib, 10240 * mib, 1, 4 * (9*mib + mib)},
		{"at most a quarter", 4, 64 * mib, 400 * mib, 1, 100 * mib},
		{"all together at most half", 4, 64 * mib, 400 * mib, 10, 20 * mib},
	} {
		d := config.Destination{Concurrency: c.concurrency, Batch: config.Batch{Size: config.Size(c.batch)}}
		if got := spoolShare(d, c.maxBytes, c.destinations); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestBudget(t *testing.T) {
	for _, c := range []struct {
		name       string
		configured config.Size
		limit      int64
		want       int64
	}{
		{"what is set", 64 << 20, 0, 64 << 20},
		{"what is set, whatever the limit", 512 << 20, 100 << 20, 512 << 20},
		{"the default", 0, 0, 256 << 20},
		{"half the limit", 0, 200 << 20, 100 << 20},
		{"a limit that is far", 0, 8 << 30, 256 << 20},
		{"never less than can be set", 0, 100 << 20, 64 << 20},
	} {
		if doors, deliveries := budget(c.configured, c.limit); doors != c.want/4 || doors+deliveries != c.want {
			t.Errorf("%s: %d and %d, want %d", c.name, doors, deliveries, c.want)
		}
	}
}

// A stage has until the deadline to end by itself, then until it obeys its context.
func TestStagesEnd(t *testing.T) {
	for _, c := range []struct {
		name   string
		run    func(ctx context.Context, stop <-chan struct{})
		obeyed bool
		after  time.Duration
	}{
		{"that stops", func(_ context.Context, stop <-chan struct{}) { <-stop }, true, 0},
		{"that takes its time", func(_ context.Context, stop <-chan struct{}) {
			<-stop
			_ = hydrant.NewSystemClock().Wait(context.Background(), 5*time.Second)
		}, true, 5 * time.Second},
		{"that takes too much", func(ctx context.Context, _ <-chan struct{}) { <-ctx.Done() }, true, 10 * time.Second},
		{"that does not obey", func(context.Context, <-chan struct{}) {
			_ = hydrant.NewSystemClock().Wait(context.Background(), time.Hour)
		}, false, 10*time.Second + obeys},
	} {
		synctest.Test(t, func(t *testing.T) {
			clock, g := hydrant.NewSystemClock(), &group{}
			r := g.start(stage{c.name, c.run})
			if obeyed := r.end(clock, 10*time.Second); obeyed != c.obeyed || clock.Mono() != c.after {
				t.Errorf("a stage %s: obeyed %t after %s, want %t after %s", c.name, obeyed, clock.Mono(), c.obeyed, c.after)
			}
			g.Wait()
		})
	}
}

func TestScreen(t *testing.T) {
	var out bytes.Buffer
	s := &screen{to: &out}
	s.show("1 record")
	s.say("done")
	if out.String() != "1 record\ndone\n" {
		t.Errorf("without a terminal: %q", out.String())
	}
	out.Reset()
	s.shown = true // as on a terminal
	s.say("a log line")
	s.say("another")
	if out.String() != "\r\x1b[Ka log line\nanother\n" {
		t.Errorf("over a line that changes: %q", out.String())
	}
}

func TestBytesText(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 5 << 20: "5.0 MiB", 3 << 40: "3.0 TiB", 1<<63 - 1: "8.0 EiB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestAcceptedGaps(t *testing.T) {
	cfg := &config.Config{Pipelines: []config.Pipeline{{Name: "a", Destinations: []config.Destination{{Name: "x"}, {Name: "y"}}}, {Name: "b", Destinations: []config.Destination{{Name: "x"}}}}}
	gaps, err := acceptedGaps(cfg, []string{"a/x", "b/x", "a/y"})
	if err != nil || len(gaps["a"]) != 2 || len(gaps["b"]) != 1 {
		t.Errorf("%v, %v", gaps, err)
	}
	for _, bad := range []string{"", "a", "a/", "a/z", "c/x", "/x"} {
		if _, err := acceptedGaps(cfg, []string{bad}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// The report for people: trouble has its remedy, and its end.
func TestReportInWords(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) *time.Time { at := now.Add(-d); return &at }
	r := report{
		Version: "v1", Running: true, PID: 7, Started: ago(90 * time.Minute), DataDir: "/data",
		Pipelines: map[string]pipelineReport{"app": {
			Appended: totals{5, 2048}, DiskBytes: 1 << 20, SpoolBytes: 26 << 20, UsedBytes: 27 << 20, MaxBytes: 10 << 30, Full: "the buffer is full", Damaged: totals{1, 100},
			Destinations: map[string]outletReport{
				"archive": {Appended: totals{5, 2048}, Delivered: totals{3, 1024}, Pending: totals{2, 1024}, OldestPending: 61, LastDelivery: ago(time.Minute),
					LastError: &errorReport{Text: "403 AccessDenied", Remedy: "let the key write to the bucket", Operator: true, Since: *ago(30 * time.Second), Attempts: 2}},
				"local":  {Appended: totals{5, 2048}, Delivered: totals{5, 2048}, LastError: &errorReport{Text: "disk", Since: *ago(time.Hour), Until: ago(30 * time.Minute), Attempts: 1}},
				"slow":   {Appended: totals{5, 2048}, Pending: totals{5, 2048}, LastError: &errorReport{Text: "503 SlowDown", Since: *ago(time.Minute), Attempts: 1}},
				"broken": {Error: "ca.pem: no certificate in it"},
			},
			Sources: []sourceReport{{Source: "http :80/"}, {Source: "stdin", Ended: true, Error: "read: input/output error"}},
		}},
		Orphans: []orphan{{Pipeline: "app", Destination: "b"}},
	}
	var out bytes.Buffer
	if err := r.print(&out, now); err != nil {
		t.Fatal(err)
	}
	const want = `hydrant v1 on /data: process 7, up 1h30m

app: appended 5 records (2.0 KiB); 27.0 MiB of 10.0 GiB taken: the log 1.0 MiB, set aside for spools 26.0 MiB
  full: the buffer is full
  stdin ended: read: input/output error
  damaged: 1 record (100 B) were lost in the log
             appended  delivered  refused  dropped  damaged  pending    bytes  oldest  last delivery
    archive         5          3        0        0        0        2  1.0 KiB    1m1s         1m ago
     broken         ?          ?        ?        ?        ?        ?        ?       -              -
      local         5          5        0        0        0        0      0 B       -              -
       slow         5          0        0        0        0        5  2.0 KiB      0s              -
  archive holds since 30s, 2 attempts: 403 AccessDenied
    what to do: let the key write to the bucket
  broken holds: ca.pem: no certificate in it
  local had trouble until 30m ago, 1 failed attempt: disk
  slow fails since 1m, 1 attempt: 503 SlowDown

orphaned cursor: app/b is in data_dir and not in the configuration; it keeps what it holds until: hydrant buffer forget /data app/b
`
	if got := strings.ReplaceAll(out.String(), " \n", "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Whoever watches how much of buffer.max_bytes is taken hears of a full log in time: what is set aside for the spools is not
// the log's to use.
func TestAFullLogHasTakenMostOfItsSpace(t *testing.T) {
	d := opened(t, t.TempDir(), ", buffer: {max_bytes: 20MiB}")
	var mib hydrant.Batch
	mib.Append(hydrant.Record{Data: make([]byte, 1<<20)})
	var err error
	for n := 0; err == nil; n++ {
		if n > 20 {
			t.Fatal("20MiB take more than 20 MiB")
		}
		_, err = d.pipelines[0].log.Append(t.Context(), &buffer.Write{Batch: &mib})
	}
	p := d.report().Pipelines["app"]
	if !errors.Is(err, buffer.ErrFull) || p.Full == "" {
		t.Fatalf("the log ends with %v, and is full: %q", err, p.Full)
	}
	if p.MaxBytes != 20<<20 || p.UsedBytes > p.MaxBytes || p.UsedBytes < p.MaxBytes*8/10 {
		t.Errorf("full with %d of %d bytes taken, want 80 %% of 20MiB at least, and no more than that", p.UsedBytes, p.MaxBytes)
	}
	if p.SpoolBytes == 0 || p.DiskBytes+p.SpoolBytes != p.UsedBytes {
		t.Errorf("the log %d, spools %d, together %d", p.DiskBytes, p.SpoolBytes, p.UsedBytes)
	}
}

// opened is a daemon on a directory, ready to run, with one pipeline; more is behind its settings.
func opened(t *testing.T, dataDir string, more ...string) *daemon {
	t.Helper()
	name := filepath.Join(t.TempDir(), "hydrant.yaml")
	err := os.WriteFile(name, []byte("data_dir: "+dataDir+"\npipelines: {app: {sources: [http: {listen: \"127.0.0.1:0\"}], destinations: [file: {path: out}]"+strings.Join(more, "")+"}}\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	c := &console{out: t.Output(), err: t.Output(), screen: &screen{to: t.Output()}, kinds: builtin}
	cfg, err := configFlag{name}.load(c, c.err)
	if err != nil {
		t.Fatal(err)
	}
	d, err := open(c, cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.closeWith(nil); err != nil {
			t.Error(err)
		}
	})
	return d
}

// A path that no socket address can hold is reached by way of its directory.
func TestSocketInADeepDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep", 30), strings.Repeat("down", 30))
	d := opened(t, dir)
	admin := d.group.start(stage{"admin", d.admin.serve})
	if status, _ := askSocket(dir, "/healthz"); status != http.StatusOK {
		t.Errorf("/healthz: %d", status)
	}
	if status, _ := askSocket(dir, "/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("/readyz before the doors are open: %d", status)
	}
	if st, err := os.Stat(filepath.Join(dir, socketName)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", st, err)
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", st, err)
	}
	if !admin.end(d.clock, d.clock.Mono()+time.Minute) {
		t.Error("the admin listener does not end")
	}
}

// poisonedLog is a log that a failed sync has ended.
type poisonedLog struct{ buffer.Log }

func (poisonedLog) State() buffer.State { return buffer.State{Poisoned: buffer.ErrPoisoned} }

func TestAPoisonedLogIsNotHealthy(t *testing.T) {
	d := opened(t, t.TempDir())
	if err := d.healthy(); err != nil {
		t.Errorf("at first: %v", err)
	}
	d.pipelines[0].log = poisonedLog{d.pipelines[0].log}
	if err := d.healthy(); err == nil || !strings.Contains(err.Error(), "app: the log is poisoned") {
		t.Errorf("poisoned: %v", err)
	}
	metrics, err := d.meters.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range metrics {
		if m.GetName() == "hydrant_buffer_poisoned" && m.GetMetric()[0].GetGauge().GetValue() == 1 {
			return
		}
	}
	t.Error("hydrant_buffer_poisoned is not 1")
}

// Names and helps are what they are meant to be.
func TestMetricNames(t *testing.T) {
	d := opened(t, t.TempDir())
	metrics, err := d.meters.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, m := range metrics {
		name, ours := strings.CutPrefix(m.GetName(), "hydrant_")
		if !ours {
			continue
		}
		seen++
		part, _, _ := strings.Cut(name, "_")
		if !strings.Contains(" buffer build daemon delivery disk ingest memory ", " "+part+" ") {
			t.Errorf("%s: no such part", m.GetName())
		}
		if counter := m.GetType().String() == "COUNTER"; counter != strings.HasSuffix(name, "_total") && !strings.HasSuffix(name, "total_bytes") {
			t.Errorf("%s is a %s", m.GetName(), m.GetType())
		}
		if m.GetHelp() == "" {
			t.Errorf("%s has no help", m.GetName())
		}
	}
	if seen < 25 {
		t.Errorf("%d metrics, want all of the deliveries' and the buffers'", seen)
	}
}

// Stopped before its end, run --once delivers what it has read, and says that it was not all.
func TestOnceInterrupted(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "hydrant.yaml")
	err := os.WriteFile(name, []byte("data_dir: data\npipelines: {app: {sources: [stdin: {}], destinations: [file: {path: out, compression: none}]}}\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("hydrant", "run", "--once", "-c", name)
	var said bytes.Buffer
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	if !until(func() bool { status, _ := askSocket(data, "/readyz"); return status == http.StatusOK }) {
		t.Fatal("it is not ready")
	}
	if _, err := in.Write([]byte("one\ntwo")); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its error is the exit code
	if code := cmd.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(said.String(), "run --once: stopped before the end") {
		t.Errorf("exit code %d:\n%s", code, said.String())
	}
	files, err := filepath.Glob(filepath.Join(dir, "out/*/*/*/*/app-file-*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("delivered: %v, %v\n%s", files, err, said.String())
	}
	if got, err := os.ReadFile(files[0]); err != nil || string(got) != "one\ntwo\n" {
		t.Errorf("delivered: %q, %v", got, err)
	}
}

// The service manager hears when the doors are open, and when they close.
func TestServiceManager(t *testing.T) {
	dir := t.TempDir()
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	heard := func() string {
		text := make([]byte, 100)
		n, err := manager.Read(text)
		if err != nil {
			t.Fatal(err)
		}
		return string(text[:n])
	}
	name := filepath.Join(dir, "hydrant.yaml")
	err = os.WriteFile(name, []byte("data_dir: data\npipelines: {app: {sources: [http: {listen: \"127.0.0.1:0\"}], destinations: [file: {path: out}]}}\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("hydrant", "run", "-c", name)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(dir, "notify"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if got := heard(); got != "READY=1" {
		t.Errorf("at the start: %q", got)
	}
	if status, _ := askSocket(filepath.Join(dir, "data"), "/readyz"); status != http.StatusOK {
		t.Errorf("it said that it was ready: /readyz is %d", status)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if got := heard(); got != "STOPPING=1" {
		t.Errorf("at the end: %q", got)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
