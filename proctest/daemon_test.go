package proctest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take that ought to happen at once, on a machine that is busy.
const patience = 60 * time.Second

// daemon is one hydrant process.
type daemon struct {
	t      testing.TB
	bin    string
	config string // the file
	cmd    *exec.Cmd
	output *output // stdout and stderr
	exited chan struct{}
}

// launch is how a daemon is started. Only config is required.
type launch struct {
	bin     string   // default: binary(t)
	config  string   // the configuration file
	args    []string // after "run -c FILE"
	wrap    []string // a command before the daemon's: strace and its arguments
	stdin   io.Reader
	sys     *syscall.SysProcAttr
	command []string // in place of "run -c FILE"
}

// start starts a daemon and returns at once. It is killed when the test ends, if it still runs then.
func start(t testing.TB, l launch) *daemon {
	t.Helper()
	if l.bin == "" {
		l.bin = binary(t)
	}
	if l.command == nil {
		l.command = []string{"run", "-c", l.config}
	}
	argv := append(append(append([]string{}, l.wrap...), l.bin), append(l.command, l.args...)...)
	d := &daemon{t: t, bin: l.bin, config: l.config, cmd: exec.Command(argv[0], argv[1:]...), output: &output{}, exited: make(chan struct{})}
	d.cmd.Stdin, d.cmd.Stdout, d.cmd.Stderr = l.stdin, d.output, d.output
	if d.cmd.SysProcAttr = l.sys; l.sys != nil {
		d.cmd.Dir = "/" // of the new root
	} else {
		d.cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	d.cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL // tests that are cut short leave nothing running
	d.cmd.WaitDelay = patience
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		d.cmd.Wait() // its error is the exit code
		close(d.exited)
	}()
	t.Cleanup(func() {
		d.signal(syscall.SIGKILL)
		<-d.exited
		if strings.Contains(d.output.String(), "DATA RACE") {
			t.Errorf("the race detector found something:\n%s", d.output)
		} else if t.Failed() {
			t.Logf("what the daemon said:\n%s", d.output)
		}
	})
	return d
}

// run runs hydrant to its end and returns its exit code and what it printed.
func run(t testing.TB, stdin io.Reader, args ...string) (int, string) {
	t.Helper()
	d := start(t, launch{command: args, stdin: stdin})
	return d.wait(patience), d.output.String()
}

// dataDir is the data_dir of every configuration here: beside the file.
func (d *daemon) dataDir() string { return filepath.Join(filepath.Dir(d.config), "data") }

// ready waits until the daemon says it is, over the socket in data_dir.
func (d *daemon) ready() *daemon {
	d.t.Helper()
	eventually(d.t, patience, "the daemon is ready", func() bool {
		select {
		case <-d.exited:
			d.t.Fatalf("the daemon ended before it was ready, exit code %d:\n%s", d.cmd.ProcessState.ExitCode(), d.output)
		default:
		}
		return d.get("/readyz") == http.StatusOK
	})
	return d
}

// get asks the daemon's socket and returns the status code; 0 when nobody answers.
func (d *daemon) get(path string) int {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(d.dataDir(), "hydrant.sock"))
		},
	}, Timeout: patience}
	res, err := client.Get("http://hydrant" + path)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

// signal sends sig to the daemon; to all that wrap started, too.
func (d *daemon) signal(sig syscall.Signal) {
	select {
	case <-d.exited:
	default:
		d.cmd.Process.Signal(sig)
	}
}

// kill is power loss as far as a process can have it.
func (d *daemon) kill() {
	d.signal(syscall.SIGKILL)
	<-d.exited
}

// wait waits for the daemon's end and returns its exit code, 128+n for a signal.
func (d *daemon) wait(within time.Duration) int {
	d.t.Helper()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-d.exited:
	case <-timer.C:
		d.signal(syscall.SIGQUIT)
		<-d.exited
		d.t.Fatalf("the daemon still runs after %v:\n%s", within, d.output)
	}
	if ws, ok := d.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return d.cmd.ProcessState.ExitCode()
}

// stop ends the daemon as an operator does, drained, and expects that it goes well.
func (d *daemon) stop() {
	d.t.Helper()
	d.signal(syscall.SIGTERM)
	if code := d.wait(patience); code != 0 {
		d.t.Fatalf("exit code %d after SIGTERM, want 0:\n%s", code, d.output)
	}
}

// proc reads a field of /proc/PID/status in bytes, such as VmHWM.
func (d *daemon) proc(field string) int64 {
	d.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	if err != nil {
		d.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == field+":" {
			kb, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				d.t.Fatal(err)
			}
			return kb << 10
		}
	}
	d.t.Fatalf("/proc/%d/status has no %s", d.cmd.Process.Pid, field)
	return 0
}

// eventually waits until ok says so.
func eventually(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline, tick := time.NewTimer(within), time.NewTicker(10*time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("not within %v: %s", within, what)
		case <-tick.C:
		}
	}
}

// output collects what a process prints.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// freeAddr is a loopback address where nothing listens.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// writeConfig writes hydrant.yaml into dir and returns its name.
func writeConfig(t testing.TB, dir, format string, args ...any) string {
	t.Helper()
	name := filepath.Join(dir, "hydrant.yaml")
	if err := os.WriteFile(name, fmt.Appendf(nil, format, args...), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
