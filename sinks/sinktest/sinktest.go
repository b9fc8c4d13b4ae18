// Package sinktest is the suite that every sink passes: what sinks.Sink promises, as checks. The deliberately lossy and the
// deliberately doubling sink of its own tests fail it.
package sinktest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/sinks"
)

// T is the part of testing.T that the suite uses. Fatalf does not return.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Target is an empty destination and the ways to it. The suite opens several sinks on it, as restarts do.
type Target struct {
	// Open makes a sink on the target, as a process that starts does. The suite closes it.
	Open func() (sinks.Sink, error)
	// Read returns all records in the target, in any order, without delimiters.
	Read func() ([]string, error)
	// Swallow makes the target carry out what the next Ship asks of it and lose the answer.
	Swallow func()
	// Bad is a record that the target refuses for good; "" when it refuses none.
	Bad string
}

// check is one thing that sinks promise.
type check struct {
	name string
	run  func(t T, at Target)
}

var checks = []check{
	{"nil means that every record is there", shipped},
	{"shipping twice is harmless", twice},
	{"shipping again after a restart is harmless", restarted},
	{"an attempt whose answer was lost is made good", swallowed},
	{"concurrent attempts leave one of each record", concurrent},
	{"batches of other logs and runs stand beside each other", besides},
	{"what was never sent resolves to nothing", resolvedAbsent},
	{"what is there resolves to delivered", resolvedThere},
	{"what is there though its answer was lost resolves to delivered", resolvedSwallowed},
	{"refused records are marked, the others are there", refused},
	{"an aborted encoder leaves nothing", aborted},
	{"an empty batch has no outputs", empty},
}

// Run checks what open makes, a new target for each check.
func Run(t *testing.T, open func(t *testing.T) Target) {
	t.Helper()
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

// Failures runs the suite on targets that are meant to fail it, and names the checks that do.
func Failures(open func() Target) []string {
	var failed []string
	for _, c := range checks {
		r := &recorder{}
		r.run(func() { c.run(r, open()) })
		if r.failed {
			failed = append(failed, c.name)
		}
	}
	return failed
}

// recorder is a T that only remembers whether it failed.
type recorder struct {
	mu       sync.Mutex
	failed   bool
	cleanups []func()
}

type stop struct{}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) Errorf(string, ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	panic(stop{})
}

func (r *recorder) run(f func()) {
	defer func() {
		if p := recover(); p != nil && p != (stop{}) {
			panic(p)
		}
		for _, f := range slices.Backward(r.cleanups) {
			f()
		}
	}()
	f()
}

func sink(t T, at Target) sinks.Sink {
	t.Helper()
	s, err := at.Open()
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// holds checks that the target has exactly the records given.
func holds(t T, at Target, want []string) {
	t.Helper()
	got, err := at.Read()
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("the target holds %d records, want %d: %s, want %s", len(got), len(want), brief(got), brief(want))
	}
}

func brief(records []string) string {
	if len(records) > 8 {
		records = append(slices.Clone(records[:8]), "…")
	}
	return "[" + strings.Join(records, " ") + "]"
}

func batch(n int) sinks.Batch {
	return sinks.Batch{
		Pipeline: "suite", Destination: "target", Log: hydrant.LogID{1}, Run: hydrant.RunID{2},
		From: hydrant.Position(1 + n*perBatch), Time: 1_500_000_000_000 + int64(n),
	}
}

const perBatch = 20

func records(n int) []string {
	out := make([]string, perBatch)
	for i := range out {
		out[i] = fmt.Sprintf("record-%d-%d", n, i)
	}
	return out
}

func shipped(t T, at Target) {
	p := build(t, sink(t, at), batch(0), records(0))
	p.ship(t)
	holds(t, at, records(0))
}

func twice(t T, at Target) {
	p := build(t, sink(t, at), batch(0), records(0))
	p.ship(t)
	p.ship(t)
	holds(t, at, records(0))
}

func restarted(t T, at Target) {
	p := build(t, sink(t, at), batch(0), records(0))
	p.ship(t)
	p.restart(sink(t, at))
	p.ship(t)
	holds(t, at, records(0))
}

func swallowed(t T, at Target) {
	p := build(t, sink(t, at), batch(0), records(0))
	p.swallow(t, at)
	p.ship(t)
	holds(t, at, records(0))
	p.restart(sink(t, at))
	p.ship(t)
	holds(t, at, records(0))
}

func concurrent(t T, at Target) {
	s := sink(t, at)
	const batches, ships = 4, 3
	var want []string
	var all sync.WaitGroup
	for n := range batches {
		want = append(want, records(n)...)
		p := build(t, s, batch(n), records(n))
		for range ships {
			again := *p
			all.Go(func() { again.persist(t) })
		}
	}
	all.Wait()
	holds(t, at, want)
}

func besides(t T, at Target) {
	s := sink(t, at)
	var want []string
	for n := range 3 {
		b := batch(0)
		switch n {
		case 1:
			b.Log[0]++
		case 2:
			b.Run[0]++
		}
		want = append(want, records(n)...)
		build(t, s, b, records(n)).ship(t)
	}
	holds(t, at, want)
}

func resolvedAbsent(t T, at Target) {
	p := build(t, sink(t, at), batch(0), records(0))
	p.resolve(t, false)
	p.restart(sink(t, at))
	p.resolve(t, false)
	holds(t, at, nil)
}

func resolvedThere(t T, at Target) {
	p := build(t, sink(t, at), batch(0), records(0))
	p.ship(t)
	p.resolve(t, true)
	p.restart(sink(t, at))
	p.resolve(t, true)
	holds(t, at, records(0))
}

func resolvedSwallowed(t T, at Target) {
	p := build(t, sink(t, at), batch(0), records(0))
	p.swallow(t, at)
	p.resolve(t, true)
	holds(t, at, records(0))
}

func refused(t T, at Target) {
	all := records(0)
	if at.Bad != "" {
		all[7] = at.Bad
	}
	p := build(t, sink(t, at), batch(0), all)
	p.ship(t)
	if at.Bad == "" {
		holds(t, at, all)
		if len(p.refused) > 0 {
			t.Errorf("%d records are marked as refused, though the target refuses none", len(p.refused))
		}
		return
	}
	holds(t, at, slices.Delete(slices.Clone(all), 7, 8))
	if want := batch(0).From + 7; len(p.refused) != 1 || p.refused[0] != want {
		t.Errorf("positions %v are marked as refused, want [%d]", p.refused, want)
	}
}

func aborted(t T, at Target) {
	s := sink(t, at)
	sp := newSpool()
	e, err := s.Encoder(batch(0), sp)
	if err != nil {
		t.Fatalf("encoder: %v", err)
	}
	add(t, e, batch(0), records(0))
	e.Abort()
	e.Abort()
	if n := sp.open; n != 0 {
		t.Errorf("%d files of the spool are still open after Abort", n)
	}
	holds(t, at, nil)
	p := build(t, s, batch(0), records(0)) // what the encoder held is usable again
	p.ship(t)
	holds(t, at, records(0))
}

func empty(t T, at Target) {
	p := build(t, sink(t, at), batch(0), nil)
	if len(p.outputs) != 0 {
		t.Errorf("a batch without records has outputs: %v", p.outputs)
	}
	holds(t, at, nil)
}

// ctx is never cancelled: cancelling is the delivery's affair.
func ctx() context.Context { return context.Background() }
