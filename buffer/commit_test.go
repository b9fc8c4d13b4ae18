package buffer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/sim"
)

// inWorld runs f as an actor of a simulated machine, where waiting works.
func inWorld(t *testing.T, f func(w *sim.World, disk *sim.Disk, p *sim.Process, o Options)) {
	t.Helper()
	for seed := range uint64(10) {
		w := sim.New(seed)
		disk, p := w.NewDisk(), w.Root()
		o := Options{FS: disk.FS(p), Clock: p, Rand: p, Dir: "/data/streams/app", Name: "app"}
		if err := w.Run(func() { f(w, disk, p, o) }); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func TestAFullLog(t *testing.T) {
	for _, row := range []struct {
		name string
		full func(d *Disk, disk *sim.Disk)
		free func(d *Disk, disk *sim.Disk, c Cursor)
	}{
		{"at its cap, until a cursor moves", func(d *Disk, _ *sim.Disk) { d.o.MaxBytes = 3 << 20 }, func(d *Disk, _ *sim.Disk, c Cursor) {
			if err := c.Write(hydrant.PointDone, d.State().End, nil, nil); err != nil {
				panic(err)
			}
		}},
		{"on a full disk, until somebody else frees some", func(_ *Disk, disk *sim.Disk) { disk.Capacity = disk.Used() + 2<<20 },
			func(_ *Disk, disk *sim.Disk, _ Cursor) { disk.Capacity = 0 }},
	} {
		t.Run(row.name, func(t *testing.T) {
			inWorld(t, func(w *sim.World, disk *sim.Disk, p *sim.Process, o Options) {
				d, _, err := Open(o)
				if err != nil {
					w.Fail(err)
					return
				}
				c, err := d.Cursor("archive", Oldest)
				if err != nil {
					w.Fail(err)
					return
				}
				row.full(d, disk)
				n, big := 0, string(make([]byte, 200_000))
				for ; err == nil; n++ {
					_, err = d.Append(context.Background(), &Write{Batch: batch(big)})
				}
				if !errors.Is(err, ErrFull) || n < 5 || n > 20 || !errors.Is(d.State().Full, ErrFull) {
					w.Fail(fmt.Errorf("append %d: %w; state: %v", n, err, d.State().Full))
				}
				// One who would wait, and gives up before there is space.
				ctx, cancel := context.WithCancel(context.Background())
				gone := make(chan struct{})
				p.Go("impatient", func() {
					defer close(gone)
					if _, err := d.Append(ctx, &Write{Batch: batch(big + "impatient"), Block: true}); !errors.Is(err, context.Canceled) {
						w.Fail(fmt.Errorf("impatient: %w", err))
					}
				})
				p.Sleep(5 * time.Second)
				cancel()
				// One who waits as long as it takes.
				done := make(chan struct{})
				p.Go("patient", func() {
					defer close(done)
					if _, err := d.Append(context.Background(), &Write{Batch: batch(big + "patient"), Block: true}); err != nil {
						w.Fail(fmt.Errorf("patient: %w", err))
					}
				})
				p.Sleep(5 * time.Second)
				row.free(d, disk, c)
				if err := errors.Join(p.Wait(nil, hydrant.Never, done), p.Wait(nil, hydrant.Never, gone)); err != nil {
					w.Fail(err)
				}
				if d.State().Full != nil {
					w.Fail(fmt.Errorf("still full: %w", d.State().Full))
				}
				got := readAll(t, d, d.State().Horizon, Filter{})
				if len(got) == 0 || !strings.HasSuffix(got[len(got)-1], "patient") || strings.HasSuffix(got[len(got)-1], "impatient") || int(d.State().End) != n+1 {
					w.Fail(fmt.Errorf("%d records, end %d, %d were appended", len(got), d.State().End, n))
				}
			})
		})
	}
}

func TestCloseEndsTheWaitForSpace(t *testing.T) {
	inWorld(t, func(w *sim.World, disk *sim.Disk, p *sim.Process, o Options) {
		d, _, err := Open(o)
		if err != nil {
			w.Fail(err)
			return
		}
		disk.Capacity = disk.Used()
		done := make(chan struct{})
		p.Go("waiting", func() {
			defer close(done)
			if _, err := d.Append(context.Background(), &Write{Batch: batch(string(make([]byte, 200_000))), Block: true}); !errors.Is(err, ErrClosed) {
				w.Fail(fmt.Errorf("error %w", err))
			}
		})
		p.Sleep(3 * time.Second)
		if err := errors.Join(d.Close(), p.Wait(nil, hydrant.Never, done)); err != nil {
			w.Fail(err)
		}
	})
}

// failWrites is an FS whose writes to segments fail while it is told so.
type failWrites struct {
	hydrant.FS
	err  error
	torn bool // what was written is there all the same
}

func (f *failWrites) Open(name string, flag int) (hydrant.File, error) {
	file, err := f.FS.Open(name, flag)
	if !strings.HasSuffix(name, ".tmp") || err != nil {
		return file, err
	}
	return failWrite{file, f}, nil
}

type failWrite struct {
	hydrant.File
	fs *failWrites
}

func (f failWrite) WriteAt(b []byte, at int64) (int, error) {
	if f.fs.err == nil || at == 0 {
		return f.File.WriteAt(b, at)
	}
	if f.fs.torn {
		if n, err := f.File.WriteAt(b, at); err != nil {
			return n, err
		}
	}
	return 0, f.fs.err
}

func TestAfterAFailedWriteTheLogGoesOnInANewSegment(t *testing.T) {
	for _, torn := range []bool{false, true} {
		f, disk, p := newSimFixture(t)
		bad := &failWrites{FS: f.o.FS, torn: torn}
		f.o.FS = bad
		f.open()
		f.append("a")
		bad.err = syscall.EIO
		disk.Capacity = disk.Used() // nor can there be a new segment
		if _, err := f.log.Append(t.Context(), &Write{Batch: batch("refused")}); !errors.Is(err, ErrFull) {
			t.Fatalf("error %v", err)
		}
		f.want(1, "a")
		if torn { // what is refused does not come back, whatever the disk has of it
			f.close()
			disk.Capacity = 0
			f.open()
			f.want(1, "a")
		}
		disk.Capacity = 0
		bad.err = nil
		p.Sleep(fullRetry)
		f.append("b")
		f.append("c")
		f.want(1, "a", "b", "c")
		f.reopen()
		f.want(1, "a", "b", "c")
		if s := f.log.State(); s.Damaged.Records != 0 || s.Appended.Records != 3 {
			t.Errorf("state %+v", s)
		}
		f.close()
	}
}

func TestConcurrentAppendersShareBlocks(t *testing.T) {
	f := newFixture(t)
	f.o.Shards = 3
	f.open()
	const appenders, each = 64, 50
	var wg sync.WaitGroup
	c := f.cursor("archive", Oldest)
	wg.Go(func() { // a delivery, at the same time
		r := f.log.Reader(Filter{})
		var b hydrant.Batch
		for pos, n := hydrant.Position(1), 0; n < appenders*each; {
			if err := r.Wait(t.Context(), pos, hydrant.Never); err != nil {
				t.Error(err)
				return
			}
			b.Reset()
			next, err := r.Read(pos, 0, &b)
			if err != nil || next == pos {
				t.Errorf("read from %d to %d: %v", pos, next, err)
				return
			}
			pos, n = next, n+b.Len()
			f.commit(c, pos)
		}
	})
	for i := range appenders {
		wg.Go(func() {
			for j := range each {
				var b hydrant.Batch
				b.Append(hydrant.Record{Key: fmt.Append(nil, i, j), Data: fmt.Append(nil, i, " ", j, string(make([]byte, 300)))})
				if _, err := f.log.Append(t.Context(), &Write{Batch: &b}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if s := f.log.State(); s.Appended.Records != appenders*each || f.log.w.seq >= appenders*each {
		t.Errorf("%d records in %d blocks", s.Appended.Records, f.log.w.seq)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	f.close()
}

func TestAnIdleLogCostsLittle(t *testing.T) {
	f, disk, _ := newSimFixture(t)
	f.open()
	a, b := f.cursor("a", Oldest), f.cursor("b", Oldest)
	f.append("x")
	f.commit(a, 2)
	f.commit(b, 2)
	if n := disk.Used(); n > 1<<20 {
		t.Errorf("%d bytes are used", n)
	}
	f.close()
}

func TestSegmentsGrowWithTheRate(t *testing.T) {
	f, _, p := newSimFixture(t)
	f.open()
	data := string(make([]byte, 300_000))
	var got []int64
	for range 100 {
		f.append(data)
		p.Sleep(50 * time.Millisecond)
		if s := f.log.w.seg.size >> 20; len(got) == 0 || got[len(got)-1] != s {
			got = append(got, s)
		}
	}
	if fmt.Sprint(got) != "[0 1 4 16 64]" {
		t.Errorf("segments of %d MiB at 6 MB/s", got)
	}
	p.Sleep(time.Hour)
	f.log.w.left = true
	f.append(data)
	if f.log.w.seg.size != 1<<20 {
		t.Errorf("a segment of %d bytes when it calms down", f.log.w.seg.size)
	}
	c := f.cursor("archive", Oldest)
	for range 100 {
		f.append(data)
	}
	f.commit(c, f.log.State().End)
	if f.log.State().Disk <= 1<<20 {
		t.Errorf("%d bytes while it is busy", f.log.State().Disk)
	}
	p.Sleep(time.Hour)
	f.append("x")
	f.commit(c, f.log.State().End)
	if f.log.State().Disk > 1<<20 {
		t.Errorf("%d bytes when everything is delivered, and calm", f.log.State().Disk)
	}
	f.close()
}

func TestALogOnAFullDiskIsOpened(t *testing.T) {
	f, disk, p := newSimFixture(t)
	f.open()
	c := f.cursor("archive", Oldest)
	f.append("a")
	disk.Capacity = disk.Used() + 1<<20
	err := error(nil)
	for err == nil {
		_, err = f.log.Append(t.Context(), &Write{Batch: batch(string(make([]byte, 50_000)))})
	}
	f.commit(c, 1, "entry")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	end := f.log.State().End
	for range 4 {
		disk.Tenant += disk.Capacity - disk.Used() - disk.Tenant // not a byte is left
		f.reopen()
	}
	if got := f.read(1); len(got) != int(end)-1 {
		t.Errorf("%d records are there, want %d", len(got), end-1)
	}
	c = f.cursor("archive", Oldest)
	if entries(c) != "entry" {
		t.Errorf("entries %q", entries(c))
	}
	if _, err := f.log.Append(t.Context(), &Write{Batch: batch(string(make([]byte, 150_000)))}); !errors.Is(err, ErrFull) {
		t.Errorf("append: %v", err)
	}
	f.commit(c, end) // everything but what is written to is freed
	p.Sleep(fullRetry)
	f.append(string(make([]byte, 50_000)))
	f.close()
}

func TestWhatIsKeptBackIsDurable(t *testing.T) {
	for seed := range uint64(20) {
		w := sim.New(seed)
		disk, p := w.NewDisk(), w.Root()
		f := &fixture{t: t, o: Options{FS: disk.FS(p), Clock: p, Rand: p, Dir: "/data/streams/app", Name: "app"}}
		f.open()
		f.append("record one")
		f.cursor("archive", Oldest)
		f.kill()
		disk.PowerCut()
		if b, err := readWhole(f.o.FS, f.o.Dir+"/cursors/archive.reserve"); err != nil || len(b) < reserveLeast {
			t.Fatalf("seed %d: %d bytes are kept back for the spool after a power cut: %v", seed, len(b), err)
		}
		seg := f.segments()[0]
		_, at := f.where(seg, "record one")
		f.patch(seg, at, []byte("R"))
		f.open()
		f.close()
		disk.PowerCut()
		if len(f.rec.Quarantined) != 1 {
			t.Fatalf("quarantined: %q", f.rec.Quarantined)
		}
		if b, err := readWhole(f.o.FS, f.rec.Quarantined[0]); err != nil || !strings.Contains(string(b), "Record one") {
			t.Fatalf("seed %d: the copy of what was damaged has %d bytes after a power cut: %v", seed, len(b), err)
		}
	}
}

func TestANoteThatNobodyKnowsIsNotWritten(t *testing.T) {
	f, _, _ := newSimFixture(t)
	f.open()
	if _, err := f.log.Append(t.Context(), &Write{Batch: batch("a"), Notes: []Note{{Type: 99}}}); !errors.Is(err, ErrNewerFormat) {
		t.Errorf("error %v", err)
	}
	f.want(1)
	f.close()
}
