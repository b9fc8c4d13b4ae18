package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/hydrantd/hydrant"
)

// group starts goroutines and waits for all of them. This is the only file that has a go statement.
type group struct{ wg sync.WaitGroup }

// Go implements hydrant.Go. A panic is a bug of ours and ends the process: what it left half done is in memory only,
// and everything acknowledged is on disk.
func (g *group) Go(name string, f func()) {
	g.wg.Add(1)
	go func() {
		defer g.wg.Done()
		defer func() {
			if p := recover(); p != nil {
				fmt.Fprintf(os.Stderr, "hydrant: BUG: %s: %v\n%s", name, p, debug.Stack())
				os.Exit(exitFailed)
			}
		}()
		f()
	}()
}

// Wait returns when everything has ended.
func (g *group) Wait() { g.wg.Wait() }

// stage is a part of the daemon that starts and stops as one. run works until stop is closed and then finishes what it
// has begun; when ctx ends it returns at once.
type stage struct {
	name string
	run  func(ctx context.Context, stop <-chan struct{})
}

// running is a stage that was started. It belongs to the goroutine that started it.
type running struct {
	stage
	stop     chan struct{}
	stopping bool
	ended    chan struct{}
	cancel   context.CancelFunc
}

// start starts a stage.
func (g *group) start(s stage) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{stage: s, stop: make(chan struct{}), ended: make(chan struct{}), cancel: cancel}
	g.Go(s.name, func() {
		defer close(r.ended)
		s.run(ctx, r.stop)
	})
	return r
}

// finish asks the stage to come to its end.
func (r *running) finish() {
	if !r.stopping {
		r.stopping = true
		close(r.stop)
	}
}

// obeys is how long a stage may take to return when its context has ended.
const obeys = 3 * time.Second

// end brings the stage to its end: gently until the deadline of the clock's Mono, then at once. False: not even then,
// because a call into the system does not return.
func (r *running) end(c hydrant.Clock, deadline time.Duration) bool {
	defer r.cancel()
	r.finish()
	none := context.Context(nil)
	if c.Wait(none, deadline, r.ended) == nil {
		return true
	}
	r.cancel()
	return c.Wait(none, c.Mono()+obeys, r.ended) == nil
}

// signals returns a channel that the first SIGTERM or SIGINT closes. The second ends the process with 128 and its
// number: everything acknowledged is on disk, so nothing is lost. release gives the signals back.
func (g *group) signals(last func(os.Signal)) (first <-chan struct{}, release func()) {
	caught, done, once := make(chan os.Signal, 2), make(chan struct{}), make(chan struct{})
	signal.Notify(caught, syscall.SIGTERM, syscall.SIGINT)
	g.Go("signals", func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			case s := <-caught:
				if n == 0 {
					close(once)
					continue
				}
				last(s)
				if number, ok := s.(syscall.Signal); ok {
					os.Exit(128 + int(number))
				}
			}
		}
	})
	return once, func() {
		signal.Stop(caught)
		close(done)
	}
}
