package delivery

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/sinks"
	"github.com/hydrantd/hydrant/transform"
)

// flip changes one bit of the record data in the log's files.
func (r *rig) flip(data string) {
	r.t.Helper()
	segments, err := filepath.Glob(filepath.Join(r.dir, "streams", "app", "log", "*.seg"))
	if err != nil {
		r.t.Fatal(err)
	}
	hits := 0
	for _, name := range segments {
		b, err := os.ReadFile(name)
		if err != nil {
			r.t.Fatal(err)
		}
		if i := strings.Index(string(b), data); i >= 0 {
			b[i] ^= 1
			hits++
			if err := os.WriteFile(name, b, 0o600); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	if hits == 0 {
		r.t.Fatalf("%q is not in the log", data)
	}
}

func TestDamageIsCountedOnceAndTheRestGoesOn(t *testing.T) {
	tests := []struct {
		name        string
		concurrency int
		blocks      []string // each a block; those beginning with ! are damaged
		batch       Batch
	}{
		{"in the middle of a backlog", 1, []string{"a", "b", "!c", "d", "e"}, Batch{1 << 20, time.Second}},
		{"first", 1, []string{"!a", "b"}, Batch{1 << 20, time.Second}},
		{"all there is", 1, []string{"!a", "!b", "c"}, Batch{1 << 20, time.Second}},
		{"many workers, small batches", 4, []string{"a", "!b", "c", "d", "!e", "f", "!g", "!h", "i"}, Batch{5, time.Second}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inRig(t, func(o *Options) { o.Concurrency, o.Batch = tt.concurrency, tt.batch }, func(r *rig) {
				var want []string
				var damaged []string
				for _, b := range tt.blocks {
					name := strings.TrimPrefix(b, "!")
					data := []string{"block " + name + " one", "block " + name + " two"}
					r.append(data...)
					if name == b {
						want = append(want, data...)
					} else {
						damaged = append(damaged, data...)
					}
				}
				r.append("the end")
				want = append(want, "the end")
				for i := 0; i < len(damaged); i += 2 {
					r.flip(damaged[i])
				}
				r.target.before = func(n int, s *sinks.Shipment) error { return errRefused }
				r.start()
				r.pass(10 * minutes)
				r.target.fail(nil)
				r.restart() // what was counted in a Ready is not counted again
				close(r.drain)
				if err := <-r.done; err != nil {
					t.Fatal(err)
				}
				r.cancel()
				r.target.holds(t, want)
				r.addsUp(Status{
					Appended: records(int64(len(want) + len(damaged))),
					Ledger:   Ledger{Delivered: records(int64(len(want))), Damaged: records(int64(len(damaged)))},
				})
				if r.lines.with("records are damaged") == 0 || r.lines.with(".seg+") == 0 {
					t.Errorf("the place of the damage is not logged: %v", r.lines.all)
				}
			})
		})
	}
}

func TestWhatIsDamagedBeforeItCouldBeDivertedIsDamaged(t *testing.T) {
	inRig(t, func(o *Options) { o.GiveUpAfter = minutes; o.Batch.Size = 1 << 20 }, func(r *rig) {
		r.target.before = func(int, *sinks.Shipment) error { return sinks.Unsent(errRefused) }
		r.append("first block")
		r.append("second block", "and more of it")
		r.append("third block")
		r.start()
		r.pass(10 * time.Second)
		r.flip("second block")
		close(r.drain)
		if err := <-r.done; err != nil {
			t.Fatal(err)
		}
		r.cancel()
		r.addsUp(Status{Appended: records(4), Ledger: Ledger{Refused: records(2), Damaged: records(2)}})
		if n := len(r.errs.errorLines(t)); n != 2 {
			t.Errorf("%d error records, want 2", n)
		}
	})
}

func TestADamagedSpoolFileCostsItsBatchAlone(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(path string) error
	}{
		{"a flipped bit", func(path string) error {
			b, err := os.ReadFile(path)
			b[3] ^= 1
			return errors.Join(err, os.WriteFile(path, b, 0o600))
		}},
		{"cut off", func(path string) error { return os.Truncate(path, 7) }},
		{"gone", os.Remove},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inRig(t, func(o *Options) { o.Concurrency = 2 }, func(r *rig) {
				r.target.before = func(int, *sinks.Shipment) error { return errRefused }
				want := numbered(50, 100)
				r.append(want...)
				r.start()
				r.pass(minutes)
				r.kill()
				at := slices.IndexFunc(r.target.ships, func(s shipped) bool { return strings.HasSuffix(s.names[0], "-1-11") })
				first := filepath.Join(r.o.Dir, strconv.FormatUint(r.target.ships[at].number, 10), "records.lines")
				if err := tt.damage(first); err != nil {
					t.Fatal(err)
				}
				r.target.fail(nil)
				r.start()
				r.pass(10 * minutes)
				r.target.holds(t, want[10:])
				r.addsUp(Status{Appended: records(50), Pending: records(10), Ledger: Ledger{Delivered: records(40)}})
				s := r.status()
				if e := s.LastError; e == nil || !e.Operator || !strings.Contains(e.Text, first) || !e.Until.IsZero() {
					t.Errorf("last error: %+v", e)
				}
				if s.Committed != 1 || s.OldestPending == 0 {
					t.Errorf("committed %d, oldest pending %v", s.Committed, s.OldestPending)
				}
				// Other troubles are told of as ever, and do not hide it.
				r.target.fail(func(int, *sinks.Shipment) error { return errRefused })
				r.append("later")
				r.pass(10 * minutes)
				if n := r.lines.with("delivery is retried"); n != 2 {
					t.Errorf("%d outages were told of, want 2: %v", n, r.lines.all)
				}
				r.target.fail(nil)
				r.pass(10 * minutes)
				if n := r.lines.with("delivery is back"); n != 1 {
					t.Errorf("it is back %d times, want once: %v", n, r.lines.all)
				}
				if e := r.status().LastError; !strings.Contains(e.Text, first) || !e.Until.IsZero() {
					t.Errorf("last error: %+v", e)
				}
				close(r.drain)
				if err := <-r.done; err == nil || !strings.Contains(err.Error(), first) {
					t.Errorf("drain: %v", err)
				}
				r.cancel()
			})
		})
	}
}

// faulty is a file system on which calls fail as the test says.
type faulty struct {
	hydrant.FS
	mu   sync.Mutex
	fail func(op, name string) error
}

func (f *faulty) says(op, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail == nil {
		return nil
	}
	return f.fail(op, name)
}

func (f *faulty) set(fail func(op, name string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

func (f *faulty) Open(name string, flag int) (hydrant.File, error) {
	op := "open"
	if flag&os.O_CREATE != 0 {
		op = "create"
	}
	if err := f.says(op, name); err != nil {
		return nil, err
	}
	file, err := f.FS.Open(name, flag)
	if err != nil {
		return nil, err
	}
	return &faultyFile{file, f, name}, nil
}

func (f *faulty) MkdirAll(name string) error {
	if err := f.says("mkdir", name); err != nil {
		return err
	}
	return f.FS.MkdirAll(name)
}

func (f *faulty) ReadDir(name string) ([]fs.DirEntry, error) { return f.FS.ReadDir(name) }

type faultyFile struct {
	hydrant.File
	f    *faulty
	name string
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.f.says("write", f.name); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f *faultyFile) Sync(p hydrant.Point) error {
	if err := f.f.says("sync", f.name); err != nil {
		return err
	}
	return f.File.Sync(p)
}

// stingy lends what it has.
type stingy struct {
	buffer.Log
	has  int64
	lent atomic.Int64
}

func (l *stingy) Cursor(name string, start buffer.Start) (buffer.Cursor, error) {
	c, err := l.Log.Cursor(name, start)
	return &stingyCursor{c, l}, err
}

type stingyCursor struct {
	buffer.Cursor
	l *stingy
}

func (c *stingyCursor) Lend(n int64) error {
	if c.l.has < n {
		return syscall.ENOSPC
	}
	c.l.has -= n
	c.l.lent.Add(n)
	return nil
}

func TestOnAFullDiskTheReserveCarriesTheOldestBatch(t *testing.T) {
	inRig(t, func(o *Options) { o.Batch.Size = 1 << 20; o.Concurrency = 2 }, func(r *rig) {
		l := &stingy{Log: r.log, has: 1 << 40}
		full := &faulty{FS: quick{}}
		r.o.Log, r.o.FS = l, full
		lent := int64(0)
		full.set(func(op, name string) error {
			// Every write needs space; what is lent is there for one.
			if (op == "write" || op == "create" || op == "mkdir") && strings.Contains(name, "spool/archive/") {
				if lent == l.lent.Load() {
					return syscall.ENOSPC
				}
				lent = l.lent.Load()
			}
			return nil
		})
		want := numbered(40, 100)
		r.append(want...)
		r.start()
		r.pass(5 * minutes)
		r.target.holds(t, want)
		if n := len(r.target.order); n < 2 {
			t.Errorf("%d objects: the batches did not end where the disk did", n)
		}
		r.addsUp(Status{Appended: records(40), Ledger: Ledger{Delivered: records(40)}})
		r.kill()
	})
}

func TestAFullDiskWithoutAReserveIsWaitedFor(t *testing.T) {
	for _, op := range []string{"mkdir", "create", "write", "sync"} {
		t.Run(op, func(t *testing.T) {
			inRig(t, func(o *Options) { o.Concurrency = 3 }, func(r *rig) {
				full := &faulty{FS: quick{}}
				r.o.Log, r.o.FS = &stingy{Log: r.log}, full
				full.set(func(at, name string) error {
					if at == op && strings.Contains(name, "spool/archive/") {
						return syscall.ENOSPC
					}
					return nil
				})
				want := numbered(50, 100)
				r.append(want...)
				r.start()
				r.pass(10 * minutes)
				if e := r.status().LastError; e == nil || !e.Operator || !strings.Contains(e.Remedy, "space") || r.target.attempts() != 0 {
					t.Errorf("%d attempts, last error %+v", r.target.attempts(), e)
				}
				if used := r.o.Memory.Used(); used != 0 {
					t.Errorf("%d bytes of memory held while waiting for space", used)
				}
				if r.target.encoders != 0 {
					t.Errorf("%d encoders are open", r.target.encoders)
				}
				full.set(nil)
				r.pass(3 * minutes)
				r.target.holds(t, want)
				r.kill()
				if n := len(r.lines.all); n > 10 {
					t.Errorf("%d lines: %v", n, r.lines.all)
				}
			})
		})
	}
}

func TestTheSpoolStaysWithinItsShare(t *testing.T) {
	inRig(t, func(o *Options) { o.Concurrency = 4; o.SpoolBytes = 8000; o.Batch.Size = 100_000 }, func(r *rig) {
		want := numbered(1000, 100)
		for at := range 10 {
			r.append(want[at*100 : (at+1)*100]...)
		}
		r.target.before = func(int, *sinks.Shipment) error { return errRefused }
		r.start()
		r.pass(minutes)
		var size int64
		filepath.WalkDir(r.o.Dir, func(path string, e fs.DirEntry, err error) error {
			if info, ierr := e.Info(); ierr == nil && !e.IsDir() {
				size += info.Size()
			}
			return err
		})
		if size == 0 || size > 8000+4*110 {
			t.Errorf("the spool holds %d bytes, want at most 8000 and a record a batch", size)
		}
		r.target.fail(nil)
		r.pass(30 * minutes)
		r.target.holds(t, want)
		if r.o.Clock.Mono() > 2*time.Hour {
			t.Error("it took hours")
		}
		r.kill()
	})
}

func TestATinyBudgetStillDelivers(t *testing.T) {
	inRig(t, func(o *Options) { o.Memory = hydrant.NewMemory(1000); o.Concurrency = 4; o.Transform = picky{} }, func(r *rig) {
		other := r.o
		second := newTarget()
		other.Destination, other.Sink, other.Dir = "second", second, r.dir+"/spool/second"
		want := numbered(200, 100)
		want = append(want, strings.Repeat("x", 5<<20))
		for at := range 20 {
			r.append(want[at*10 : (at+1)*10]...)
		}
		r.append(want[200])
		r2 := &rig{t: t, dir: r.dir, log: r.log, target: second, errs: r.errs, lines: r.lines, o: other}
		r.start()
		r2.start()
		r.pass(5 * minutes)
		r.target.holds(t, want)
		second.holds(t, want)
		r2.kill()
		r.kill()
	})
}

// moody fails a few times before it does its work.
type moody struct {
	picky
	fails int
}

func (f *moody) Transform(ctx context.Context, in, out *hydrant.Batch, v []transform.Verdict) error {
	if f.fails--; f.fails >= 0 {
		switch f.fails % 3 {
		case 0:
			return errors.New("out of memory")
		case 1:
			return f.picky.Transform(ctx, in, out, v[:0]) // no verdict: nothing is judged
		}
		out.Append(hydrant.Record{Data: []byte("one too many")})
	}
	return f.picky.Transform(ctx, in, out, v)
}

func TestAFunctionThatFailsIsAskedAgain(t *testing.T) {
	inRig(t, func(o *Options) { o.Transform = &moody{fails: 7} }, func(r *rig) {
		r.pickyTarget()
		r.append(everything...)
		r.start()
		r.pass(10 * minutes)
		r.hasEverything(1)
		for _, e := range r.errs.errorLines(t) {
			if want := 8; e.Stage == "transform" && e.AttemptsMade != want {
				t.Errorf("%d attempts made, want %d", e.AttemptsMade, want)
			}
		}
		r.kill()
		if n := r.lines.with("calling the function"); n != 1 {
			t.Errorf("%d lines about it, want 1: %v", n, r.lines.all)
		}
	})
}

func TestStatusOfADeliveryThatDoesNotRun(t *testing.T) {
	inRig(t, func(o *Options) { o.Transform = picky{}; o.Concurrency = 3 }, func(r *rig) {
		r.pickyTarget()
		r.append(everything...)
		r.target.before = func(n int, s *sinks.Shipment) error {
			if n == 1 {
				return errRefused // and then it waits, while others are delivered
			}
			return nil
		}
		r.start()
		r.pass(2 * minutes)
		r.append(numbered(30, 100)...)
		r.target.fail(func(n int, s *sinks.Shipment) error {
			if s.From < 24 {
				return errRefused
			}
			return nil
		})
		r.pass(minutes)
		live := r.status()
		r.kill()
		c, err := r.log.Cursor("archive", buffer.Oldest)
		if err != nil {
			t.Fatal(err)
		}
		now := r.o.Clock.Wall()
		got, err := ReadStatus(c.Committed(), c.Entries(), r.log.State(), r.log.Reader(buffer.Filter{}), now)
		if err := errors.Join(err, c.Close()); err != nil {
			t.Fatal(err)
		}
		live.LastDelivery, live.LastError = time.Time{}, nil
		if got != live {
			t.Errorf("offline\n%+v, running\n%+v", got, live)
		}
		if live.Pending.Records == 0 || live.Ready == 0 || live.OldestPending < minutes || live.Delivered.Records < 4 {
			t.Errorf("the test shows too little: %+v", live)
		}
		if n := r.d.Counts(); n.Ledger != live.Ledger || n.Ready != live.Ready || n.Committed != live.Committed {
			t.Errorf("counts %+v, status %+v", n, live)
		}
		if slices.Contains(r.target.data(), "drop 2") {
			t.Error("what was dropped was delivered")
		}
	})
}

func TestADeliveryThatCannotBeOpenedForWantOfSpaceIsOpenedLater(t *testing.T) {
	inRig(t, nil, func(r *rig) {
		full := &faulty{FS: quick{}}
		r.o.FS = full
		calls := 0
		full.set(func(op, name string) error {
			if op == "mkdir" && strings.HasSuffix(name, "spool/archive") {
				calls++
				return syscall.ENOSPC
			}
			return nil
		})
		want := numbered(10, 100)
		r.append(want...)
		r.start()
		close(r.drain)
		r.pass(10 * minutes)
		if _, err := r.d.Status(); err == nil {
			t.Error("status knows nothing and says no error")
		}
		if calls < 10 || calls > 3000 {
			t.Errorf("%d tries in ten minutes", calls)
		}
		full.set(nil)
		if err := <-r.done; err != nil {
			t.Fatal(err)
		}
		r.cancel()
		r.target.holds(t, want)
	})
}
