package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hydrantd/hydrant"
)

const (
	socketName = "hydrant.sock"
	longestSun = 100 // bytes of a path that fits into a socket address everywhere
)

// admin answers /metrics, /healthz, /readyz and /status: on a socket in data_dir always, on a port if one is set.
type admin struct {
	daemon  *daemon
	server  *http.Server
	sockets []net.Listener
	path    string // of the socket in data_dir
}

func openAdmin(d *daemon) (*admin, error) {
	a := &admin{daemon: d, server: newServer(d.log), path: filepath.Join(d.cfg.DataDir, socketName)}
	a.server.Handler = a.routes()
	if err := os.Remove(a.path); err != nil && !errors.Is(err, fs.ErrNotExist) { // one that a killed daemon left
		return nil, err
	}
	local, err := inDir(d.cfg.DataDir, func(name string) (net.Listener, error) {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
		if err != nil {
			return nil, err
		}
		l.SetUnlinkOnClose(false) // by a name that may not lead there any more; close removes it
		return l, os.Chmod(name, 0o600)
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.path, err)
	}
	a.sockets = append(a.sockets, local)
	if d.cfg.Admin.Listen != "" {
		port, err := net.Listen("tcp", d.cfg.Admin.Listen)
		if err != nil {
			a.close()
			return nil, fmt.Errorf("admin: %w", err)
		}
		a.sockets = append(a.sockets, port)
	}
	return a, nil
}

// inDir calls f with a name for the socket in dir that is short enough for a socket address: if need be by way of a
// descriptor of dir.
func inDir[T any](dir string, f func(name string) (T, error)) (none T, err error) {
	name := filepath.Join(dir, socketName)
	if len(name) <= longestSun {
		return f(name)
	}
	d, err := os.Open(dir)
	if err != nil {
		return none, err
	}
	defer d.Close()
	return f(fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), socketName))
}

// dialDaemon connects to the daemon that runs on dir.
func dialDaemon(ctx context.Context, dir string) (net.Conn, error) {
	return inDir(dir, func(name string) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "unix", name) })
}

func (a *admin) routes() http.Handler {
	m := http.NewServeMux()
	m.Handle("GET /metrics", promhttp.HandlerFor(a.daemon.meters.registry, promhttp.HandlerOpts{Registry: a.daemon.meters.registry}))
	m.HandleFunc("GET /healthz", a.check(a.daemon.healthy))
	m.HandleFunc("GET /readyz", a.check(a.daemon.takesRecords))
	m.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		out := json.NewEncoder(w)
		out.SetIndent("", "  ")
		_ = out.Encode(a.daemon.report()) // a client that left
	})
	return m
}

func (a *admin) check(f func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if err := f(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	}
}

// takesRecords says why some of the doors, or all of them, take no records in.
func (d *daemon) takesRecords() error {
	if !d.ready.Load() {
		return errors.New("the doors are closed")
	}
	for _, p := range d.pipelines {
		if err := p.now().err; err != nil {
			return fmt.Errorf("%s holds: %w", p.name, err)
		}
	}
	return nil
}

// healthy says why a restart would help: a log that is poisoned. A full buffer or a dead sink are no reason.
func (d *daemon) healthy() error {
	for _, p := range d.pipelines {
		log := p.now().log
		if log == nil {
			continue
		}
		if err := log.State().Poisoned; err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// serve is the stage: it is the last to end.
func (a *admin) serve(ctx context.Context, stop <-chan struct{}) {
	var ends []<-chan struct{}
	for _, socket := range a.sockets {
		ended := make(chan struct{})
		ends = append(ends, ended)
		a.daemon.group.Go("admin "+socket.Addr().Network(), func() {
			defer close(ended)
			if err := a.server.Serve(socket); !errors.Is(err, http.ErrServerClosed) {
				a.daemon.log.Error("the admin listener ended", "err", err)
			}
		})
	}
	_ = a.daemon.clock.Wait(ctx, hydrant.Never, stop) // both mean: no more
	if a.server.Shutdown(ctx) != nil {
		_ = a.server.Close() // cuts off who still reads
	}
	a.daemon.await(ends)
}

// close gives the places back.
func (a *admin) close() {
	for _, socket := range a.sockets {
		_ = socket.Close() // closed already, if it was served
	}
	_ = os.Remove(a.path) // the next start removes it too
}
