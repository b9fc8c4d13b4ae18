package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"time"

	"github.com/hydrantd/hydrant"
)

// mux serves the HTTP doors: one listener for each address, shared by path. It implements ingest.Mux.
type mux struct {
	log       *slog.Logger
	count     func(listen, path string, status int) // each answer, for the metrics
	listeners []*listener
}

type listener struct {
	addr, certFile, keyFile string
	paths                   map[string]http.Handler
	server                  *http.Server
	socket                  net.Listener
}

// Handle implements ingest.Mux. Nothing is bound yet.
func (m *mux) Handle(addr, path, certFile, keyFile string, h http.Handler) error {
	i := slices.IndexFunc(m.listeners, func(l *listener) bool { return l.addr == addr })
	if i < 0 {
		i = len(m.listeners)
		m.listeners = append(m.listeners, &listener{addr: addr, certFile: certFile, keyFile: keyFile, paths: map[string]http.Handler{}})
	}
	l := m.listeners[i]
	if l.certFile != certFile || l.keyFile != keyFile {
		return fmt.Errorf("%s: is shared with other tls files, want the same", addr)
	}
	if l.paths[path] != nil {
		return fmt.Errorf("%s%s: belongs to another source already, want another path", addr, path)
	}
	l.paths[path] = h
	return nil
}

// bind opens every listener, or none.
func (m *mux) bind() error {
	for _, l := range m.listeners {
		if err := l.bind(m.log); err != nil {
			m.close()
			return err
		}
		l.server.Handler = m.routes(l)
	}
	return nil
}

func (l *listener) bind(log *slog.Logger) error {
	l.server = newServer(log)
	socket, err := net.Listen("tcp", l.addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	l.socket = socket
	if l.certFile != "" {
		cert, err := tls.LoadX509KeyPair(l.certFile, l.keyFile)
		if err != nil {
			return fmt.Errorf("%s: tls: %w", l.addr, err)
		}
		l.socket = tls.NewListener(socket, &tls.Config{
			Certificates: []tls.Certificate{cert},
			MinVersion:   tls.VersionTLS12,
			NextProtos:   []string{"h2", "http/1.1"},
		})
	}
	return nil
}

// newServer bounds what a client can hold: time for its headers, their size, idle connections. The handlers move the
// read and write deadlines as they see fit.
func newServer(log *slog.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// routes finds the door by the exact path: no redirects, no patterns.
func (m *mux) routes(l *listener) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := l.paths[r.URL.Path]
		if h == nil {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"error": "there is no source at this path"}` + "\n"))
			m.count(l.addr, "", http.StatusNotFound) // paths that others make up are no labels
			return
		}
		seen := &statusSeen{ResponseWriter: w, status: http.StatusOK}
		defer m.caught(l.addr, r.URL.Path, seen)
		h.ServeHTTP(seen, r)
	})
}

// caught counts the answer. A panic is a bug of ours that one request found: it costs that request, not the daemon.
func (m *mux) caught(listen, path string, seen *statusSeen) {
	p := recover()
	if p != nil {
		m.log.Error("BUG: panic in a door", "source", "http "+listen+path, "err", fmt.Sprint(p), "stack", string(debug.Stack()))
		seen.status = http.StatusInternalServerError
	}
	m.count(listen, path, seen.status)
	if p != nil {
		panic(http.ErrAbortHandler) // cuts the connection: whether anything was taken in is not known
	}
}

type statusSeen struct {
	http.ResponseWriter
	status int
}

func (s *statusSeen) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (s *statusSeen) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// serve answers until stop is closed, then finishes what is under way; on ctx it cuts the connections.
func (m *mux) serve(ctx context.Context, stop <-chan struct{}, clock hydrant.Clock, spawn hydrant.Go) {
	var ends []chan struct{}
	for _, l := range m.listeners {
		ended := make(chan struct{})
		ends = append(ends, ended)
		spawn("http "+l.addr, func() {
			defer close(ended)
			if err := l.server.Serve(l.socket); !errors.Is(err, http.ErrServerClosed) {
				m.log.Error("a listener ended", "source", "http "+l.addr, "err", err)
			}
		})
	}
	_ = clock.Wait(ctx, hydrant.Never, stop) // both mean: no more
	for _, l := range m.listeners {
		if err := l.server.Shutdown(ctx); err != nil {
			_ = l.server.Close() // the clients' connections: they learn it from the reset
		}
	}
	for _, ended := range ends {
		<-ended
	}
}

// close gives the addresses back when serve was never called.
func (m *mux) close() {
	for _, l := range m.listeners {
		if l.socket != nil {
			_ = l.socket.Close() // nothing was accepted on it
		}
	}
}
