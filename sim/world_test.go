package sim

import (
	"context"
	"errors"
	"os"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/hydrantd/hydrant"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	debug.SetMaxStack(64 << 20) // an endless recursion is to end soon
	debug.SetGCPercent(400)     // many small worlds, soon forgotten
	goleak.VerifyTestMain(m)
}

// bustle is a small program that uses everything a world has.
func bustle(w *World) error {
	d := w.NewDisk()
	d.Faults = Faults{Read: 1000, Write: 1000, Sync: 1000, Meta: 1000, NoSpace: 1000, Writeback: 10_000}
	return w.Run(func() {
		for range 5 {
			p := w.NewProcess("p", d, 0)
			var turn hydrant.Turn
			for _, name := range []string{"a", "b", "c"} {
				p.Go(name, func() {
					fsys := d.FS(p)
					for i := range 50 {
						if turn.Take(nil, p) != nil {
							continue
						}
						if f, err := fsys.Open("/"+name, os.O_CREATE|os.O_RDWR); err == nil {
							_, _ = f.WriteAt([]byte(name), int64(i)*700)
							_ = f.Sync(hydrant.PointBlock)
							_ = f.Close()
						}
						turn.Give()
						_ = p.Wait(nil, p.Mono()+w.between(0, time.Millisecond))
					}
				})
			}
			w.Root().Sleep(w.between(0, 20*time.Millisecond))
			p.Kill(w.Rand.IntN(2) == 0)
		}
	})
}

func TestASeedHasOneTrace(t *testing.T) {
	seen := map[uint64]bool{}
	for seed := range uint64(50) {
		a, b := New(seed), New(seed)
		if err := errors.Join(bustle(a), bustle(b)); err != nil {
			t.Fatal(err)
		}
		if a.Hash() != b.Hash() || a.Steps() != b.Steps() {
			t.Fatalf("seed %d: hash %x after %d steps and %x after %d, want the same", seed, a.Hash(), a.Steps(), b.Hash(), b.Steps())
		}
		seen[a.Hash()] = true
	}
	if len(seen) != 50 {
		t.Errorf("50 seeds gave %d traces", len(seen))
	}
}

func TestWaitEndsBy(t *testing.T) {
	shut := make(chan struct{})
	close(shut)
	open := make(chan struct{})
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, row := range []struct {
		name  string
		ctx   context.Context
		until time.Duration
		on    []<-chan struct{}
		want  error
		after time.Duration
	}{
		{"a closed channel", nil, hydrant.Never, []<-chan struct{}{open, shut}, nil, 0},
		{"a closed channel, whatever else holds", ended, 0, []<-chan struct{}{shut}, nil, 0},
		{"the context", ended, time.Hour, []<-chan struct{}{open}, context.Canceled, 0},
		{"the deadline", context.Background(), time.Hour, []<-chan struct{}{open}, hydrant.ErrDeadline, time.Hour},
		{"a deadline that is over", nil, 0, nil, hydrant.ErrDeadline, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := New(1)
			if err := w.Run(func() {
				p := w.Root()
				if got := p.Wait(row.ctx, row.until, row.on...); !errors.Is(got, row.want) || got != nil && row.want == nil {
					t.Errorf("got %v, want %v", got, row.want)
				}
				if got := p.Mono(); got < row.after || got > row.after+time.Second {
					t.Errorf("it is %v, want %v", got, row.after)
				}
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestARunFails(t *testing.T) {
	for _, row := range []struct {
		name string
		f    func(w *World)
		want string
	}{
		{"when nobody can go on", func(w *World) {
			_ = w.Root().Wait(nil, hydrant.Never, make(chan struct{}))
		}, "deadlock: nobody can go on and no deadline comes\n  world/main: no deadline, 1 channels"},
		{"when an actor panics", func(w *World) {
			w.Root().Go("mad", func() { panic("BUG: four is five") })
			w.Root().Sleep(time.Second)
		}, "mad panicked: BUG: four is five"},
		{"when it never ends", func(w *World) {
			w.Limit = 1000
			for {
				w.Root().Wall()
			}
		}, "no end after 1001 steps"},
		{"when the scenario says so", func(w *World) {
			w.Fail(errors.New("one record is lost"))
			w.Root().Sleep(time.Second)
			w.Fail(errors.New("never seen"))
		}, "one record is lost"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := New(1)
			if err := w.Run(func() { row.f(w) }); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %s", err, row.want)
			}
		})
	}
}

func TestAKilledProcess(t *testing.T) {
	w := New(3)
	d := w.NewDisk()
	var p *Process
	var log []string
	if err := w.Run(func() {
		p = w.NewProcess("p", d, 0)
		p.Go("waiter", func() {
			defer func() { log = append(log, "deferred calls run") }()
			defer func() {
				_, err := d.FS(p).Open("/late", os.O_CREATE|os.O_RDWR)
				log = append(log, "the disk answered", err.Error())
			}()
			_ = p.Wait(nil, hydrant.Never, make(chan struct{}))
			log = append(log, "it went on")
		})
		p.Go("suicide", func() {
			p.Sleep(time.Second)
			p.Kill(true)
			log = append(log, "it went on")
		})
		w.Root().Sleep(time.Minute)
	}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(log, ", "); got != "deferred calls run" || len(d.Files()) > 0 || p.Alive() != 0 {
		t.Errorf("got %q, files %v, %d actors left", got, d.Files(), p.Alive())
	}
}

func TestEveryOrderComes(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(400) {
		w := New(seed)
		var order strings.Builder
		if err := w.Run(func() {
			for _, name := range []string{"a", "b", "c"} {
				w.Root().Go(name, func() { w.Root().Wall(); order.WriteString(name) })
			}
			for order.Len() < 3 {
				w.Root().Sleep(time.Second)
			}
		}); err != nil {
			t.Fatal(err)
		}
		seen[order.String()]++
	}
	if len(seen) != 6 {
		t.Errorf("three actors ended in these orders: %v, want all six", seen)
	}
}

func BenchmarkSwitch(b *testing.B) {
	w := New(0)
	w.stay, w.stall, w.Limit = 0, 0, 1<<60
	if err := w.Run(func() {
		done := 0
		for range 8 {
			w.Root().Go("a", func() {
				for range b.N / 8 {
					w.Root().Wall()
				}
				done++
			})
		}
		for done < 8 {
			w.Root().Sleep(time.Millisecond)
		}
	}); err != nil {
		b.Fatal(err)
	}
}
