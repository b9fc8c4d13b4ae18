package buffer

import (
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/sim"
)

// fixture is a log in a directory of its own.
type fixture struct {
	t   *testing.T
	o   Options
	log *Disk
	rec Recovery
}

func newFixture(t *testing.T) *fixture {
	return &fixture{t: t, o: Options{
		FS: hydrant.OS{}, Clock: hydrant.NewSystemClock(), Rand: rand.Reader,
		Dir: filepath.Join(t.TempDir(), "streams", "app"), Name: "app", Shards: 1,
	}}
}

func (f *fixture) open() *Disk {
	f.t.Helper()
	var err error
	f.log, f.rec, err = Open(f.o)
	if err != nil {
		f.t.Fatal(err)
	}
	return f.log
}

// newSimFixture is a log on a simulated disk, for tests with one actor: nothing waits, and time passes only by Sleep.
func newSimFixture(t *testing.T) (*fixture, *sim.Disk, *sim.Process) {
	w := sim.New(1)
	disk, p := w.NewDisk(), w.Root()
	return &fixture{t: t, o: Options{FS: disk.FS(p), Clock: p, Rand: p, Dir: "/data/streams/app", Name: "app"}}, disk, p
}

// reopen closes the log and opens it anew, as after an orderly end.
func (f *fixture) reopen() *Disk {
	f.t.Helper()
	f.close()
	return f.open()
}

// kill ends the log as the death of its process does: nothing proves its last block.
func (f *fixture) kill() {
	f.t.Helper()
	f.log.w.bare = false
	f.close()
}

func (f *fixture) close() {
	f.t.Helper()
	if f.log != nil {
		if err := f.log.Close(); err != nil {
			f.t.Fatal(err)
		}
	}
	f.log = nil
}

func batch(data ...string) *hydrant.Batch {
	var b hydrant.Batch
	for _, d := range data {
		b.Append(hydrant.Record{Data: []byte(d)})
	}
	return &b
}

func (f *fixture) append(data ...string) Receipt {
	f.t.Helper()
	r, err := f.log.Append(context.Background(), &Write{Batch: batch(data...)})
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// read returns the records from a position on, damage as "!<span>", and where one would go on.
func (f *fixture) read(from hydrant.Position) (got []string) {
	f.t.Helper()
	return readAll(f.t, f.log, from, Filter{})
}

func readAll(t *testing.T, l Log, from hydrant.Position, filter Filter) (got []string) {
	t.Helper()
	r := l.Reader(filter)
	var b hydrant.Batch
	for pos := from; ; {
		b.Reset()
		next, err := r.Read(pos, 0, &b)
		for i := range b.Len() {
			got = append(got, string(b.At(i).Data))
		}
		var c *Corrupt
		switch {
		case errors.As(err, &c):
			got = append(got, "!"+c.Lost.String())
		case err != nil:
			t.Fatal(err)
		case next == pos:
			return got
		}
		pos = next
	}
}

func (f *fixture) want(from hydrant.Position, want ...string) {
	f.t.Helper()
	if got := f.read(from); !slices.Equal(got, want) {
		f.t.Fatalf("read %q, want %q", got, want)
	}
}

func TestALogIsReadAsItWasWritten(t *testing.T) {
	f := newFixture(t)
	f.open()
	f.want(1)
	if r := f.append("a", "b"); r.Position(0) != 1 || r.Position(1) != 2 {
		t.Fatalf("receipt %+v", r)
	}
	f.append("c")
	f.want(1, "a", "b", "c")
	f.want(3, "c")
	f.reopen()
	f.want(1, "a", "b", "c")
	f.append("d")
	f.want(1, "a", "b", "c", "d")
	if s := f.log.State(); s.End != 5 || s.Horizon != 1 || s.Appended != (Totals{4, 4}) {
		t.Fatalf("state %+v", s)
	}
	f.reopen()
	f.reopen()
	f.want(2, "b", "c", "d")
	if s := f.log.State(); s.End != 5 || s.Appended != (Totals{4, 4}) || s.Damaged != (Totals{}) {
		t.Fatalf("state %+v", s)
	}
	f.close()
}
