package buffer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/sim"
)

// patch writes bytes into a file of the log.
func (f *fixture) patch(name string, at int64, b []byte) {
	f.t.Helper()
	file, err := f.o.FS.Open(name, os.O_RDWR)
	if err == nil {
		_, err = file.WriteAt(b, at)
	}
	if err == nil {
		err = file.Sync(hydrant.PointBlock)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		f.t.Fatal(err)
	}
}

// segments are the paths of the files of the log, in order.
func (f *fixture) segments() (all []string) {
	f.t.Helper()
	list, err := f.o.FS.ReadDir(path.Join(f.o.Dir, "log"))
	if err != nil {
		f.t.Fatal(err)
	}
	for _, e := range list {
		all = append(all, path.Join(f.o.Dir, "log", e.Name()))
	}
	slices.Sort(all)
	return all
}

// where finds the block with some data in a file: its offset, and that of the data in it.
func (f *fixture) where(name, data string) (block, at int64) {
	f.t.Helper()
	b, err := readWhole(f.o.FS, name)
	if err != nil {
		f.t.Fatal(err)
	}
	i := int64(bytes.Index(b, []byte(data)))
	if i < 0 {
		f.t.Fatalf("%q is not in %s", data, name)
	}
	return i / blockAlign * blockAlign, i
}

func TestRecovery(t *testing.T) {
	const a, b, c = "record one", "record two", "record three"
	type state struct {
		damaged int64 // records
		torn    *int64
	}
	torn := func(n int64) *int64 { return &n }
	for _, row := range []struct {
		name   string
		damage func(f *fixture, seg string)
		read   []string
		want   state
	}{
		{"an orderly end", func(*fixture, string) {}, []string{a, b, c}, state{}},
		{"a torn last block is dropped, with the number of its records", func(f *fixture, seg string) {
			_, at := f.where(seg, c)
			f.patch(seg, at, []byte("R"))
		}, []string{a, b}, state{torn: torn(1)}},
		{"a last block of which only the end came is dropped", func(f *fixture, seg string) {
			block, _ := f.where(seg, c)
			f.patch(seg, block, make([]byte, 64))
		}, []string{a, b}, state{torn: torn(-1)}},
		{"a last block that left no trace was not there", func(f *fixture, seg string) {
			block, _ := f.where(seg, c)
			f.patch(seg, block, make([]byte, blockAlign))
		}, []string{a, b}, state{}},
		{"a damaged head in the middle costs its block", func(f *fixture, seg string) {
			block, _ := f.where(seg, b)
			f.patch(seg, block+20, []byte{1})
		}, []string{a, "!2-3", c}, state{damaged: 1}},
		{"damaged records in the middle are found on reading", func(f *fixture, seg string) {
			_, at := f.where(seg, b)
			f.patch(seg, at, []byte("R"))
		}, []string{a, "!2-3", c}, state{}},
		{"a last block behind which another was begun was durable, and is damaged", func(f *fixture, seg string) {
			block, at := f.where(seg, c)
			f.patch(seg, at, []byte("R"))
			f.patch(seg, block+blockAlign, []byte("HYBK"))
		}, []string{a, b, "!3-4"}, state{damaged: 1, torn: torn(-1)}},
		{"a damaged checkpoint costs no record", func(f *fixture, seg string) {
			f.patch(seg, fileHeaderLen+20, []byte{9, 9})
		}, []string{a, b, c}, state{}},
		{"a segment under another name gets its own", func(f *fixture, seg string) {
			if err := f.o.FS.Rename(seg, path.Join(path.Dir(seg), "copy.seg")); err != nil {
				f.t.Fatal(err)
			}
		}, []string{a, b, c}, state{}},
		{"a leftover of a segment that was being made is removed", func(f *fixture, seg string) {
			tmp, err := f.o.FS.Open(path.Join(path.Dir(seg), tempName), os.O_RDWR|os.O_CREATE)
			if err = errors.Join(err, tmp.Close()); err != nil {
				f.t.Fatal(err)
			}
		}, []string{a, b, c}, state{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			f, _, _ := newSimFixture(t)
			f.open()
			f.append(a)
			f.append(b)
			f.append(c)
			f.kill()
			row.damage(f, f.segments()[0])
			f.open()
			f.want(1, row.read...)
			if got := f.log.State().Damaged.Records; got != row.want.damaged {
				t.Errorf("%d records are counted as damaged, want %d", got, row.want.damaged)
			}
			switch {
			case (row.want.torn == nil) != (f.rec.Torn == nil):
				t.Errorf("torn: %+v", f.rec.Torn)
			case f.rec.Torn != nil && f.rec.Torn.Records != *row.want.torn:
				t.Errorf("torn: %d records, want %d", f.rec.Torn.Records, *row.want.torn)
			}
			if wantCopy := row.want.torn != nil || row.want.damaged > 0; wantCopy && len(f.rec.Quarantined) == 0 {
				t.Error("nothing was copied to quarantine")
			}
			for _, seg := range f.segments() {
				if strings.HasSuffix(seg, tempSuffix) || strings.HasSuffix(seg, "copy.seg") {
					t.Errorf("%s is still there", seg)
				}
			}
			// It goes on behind, and nothing is counted twice.
			f.append("more")
			want := append(slices.Clone(row.read), "more")
			f.want(1, want...)
			f.reopen()
			f.want(1, want...)
			if got := f.log.State().Damaged.Records; got != row.want.damaged {
				t.Errorf("%d records are counted as damaged later, want %d", got, row.want.damaged)
			}
			if s := f.log.State(); s.Appended.Records != int64(s.End)-1 {
				t.Errorf("%d records were appended, the end is %d", s.Appended.Records, s.End)
			}
			f.close()
		})
	}
}

func TestALogIsNotOpened(t *testing.T) {
	for _, row := range []struct {
		name   string
		damage func(f *fixture, seg string)
		want   string
		is     error
	}{
		{"when its header is gone", func(f *fixture, seg string) { f.patch(seg, 0, make([]byte, 100)) }, "none of 1 segments has a valid header", nil},
		{"when it is of a newer version", func(f *fixture, seg string) {
			h := segmentHeader{base: 9, must: 4, opening: 7}
			f.patch(seg, 0, h.encode())
		}, "features 0x4", ErrNewerFormat},
		{"when it holds segments of another log", func(f *fixture, seg string) {
			h := segmentHeader{base: 9, log: hydrant.LogID{1}, opening: 7}
			other := path.Join(path.Dir(seg), segmentName(9, h.run))
			file, err := f.o.FS.Open(other, os.O_RDWR|os.O_CREATE)
			if err = errors.Join(err, file.Close()); err != nil {
				f.t.Fatal(err)
			}
			f.patch(other, 0, h.encode())
		}, "belongs to log", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			f, disk, _ := newSimFixture(t)
			f.open()
			f.append("a")
			f.close()
			row.damage(f, f.segments()[0])
			before := contents(t, f, disk)
			_, _, err := Open(f.o)
			if err == nil || !strings.Contains(err.Error(), row.want) || row.is != nil && !errors.Is(err, row.is) {
				t.Fatalf("error %v, want one with %q", err, row.want)
			}
			if !maps.Equal(before, contents(t, f, disk)) {
				t.Error("files were changed")
			}
		})
	}
}

// contents are all files of a disk.
func contents(t *testing.T, f *fixture, disk *sim.Disk) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range disk.Files() {
		b, err := readWhole(f.o.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(b)
	}
	return all
}

func TestRecordsAreCountedWithoutACheckpoint(t *testing.T) {
	for what, at := range map[string]int64{"head": 20, "notes": headLen + 30} {
		f, _, _ := newSimFixture(t)
		f.open()
		f.append("a", "b", "c")
		f.commit(f.cursor("archive", Oldest), 4)
		f.reopen()
		f.commit(f.cursor("archive", Oldest), 4)
		f.append("d")
		f.close()
		if len(f.segments()) != 1 {
			t.Fatalf("segments %q", f.segments())
		}
		f.patch(f.segments()[0], fileHeaderLen+at, []byte{0x55})
		f.open()
		if s := f.log.State(); s.Appended.Records != 4 || s.End != 5 {
			t.Errorf("%s of the checkpoint damaged: state %+v", what, s)
		}
		f.close()
	}
}

func TestOpeningChangesNoOldSegment(t *testing.T) {
	f, disk, _ := newSimFixture(t)
	f.open()
	f.append("a")
	f.append("b")
	f.close()
	old := f.segments()[0]
	before := contents(t, f, disk)[old]
	for range 3 {
		f.open()
		f.append("c")
		f.close()
	}
	if contents(t, f, disk)[old] != before {
		t.Error("an old segment was written to (I3)")
	}
}

func TestTheUnprovenBlockKeepsItsIdentity(t *testing.T) {
	f, _, _ := newSimFixture(t)
	f.open()
	first := f.log.State().Run
	f.append("a", "b")
	for range 3 {
		f.kill()
		f.open()
		if f.rec.Unproven != 2 {
			t.Fatalf("%d records were copied, want 2", f.rec.Unproven)
		}
	}
	var b hydrant.Batch
	next, err := f.log.Reader(Filter{}).Read(1, 0, &b)
	if err != nil || next != 3 || b.Run != first || b.Len() != 2 || b.At(1).Pos != 2 {
		t.Fatalf("read to %d: %d records of run %s, want 2 of %s: %v", next, b.Len(), b.Run, first, err)
	}
	f.append("c")
	b.Reset()
	next, err = f.log.Reader(Filter{}).Read(1, 0, &b)
	if err != nil || next != 3 {
		t.Fatalf("a read crossed runs: %d, %v", next, err)
	}
	f.close()
}

func TestAMissingSegmentIsAnExactGap(t *testing.T) {
	f, _, _ := newSimFixture(t)
	f.open()
	for i := range 4 {
		f.append(fmt.Sprint(i, " a"), fmt.Sprint(i, " b"))
		f.append(fmt.Sprint(i, " c")) // the next opening copies this one
		f.kill()
		f.open()
	}
	f.close()
	segs := f.segments()
	if err := f.o.FS.Remove(segs[1]); err != nil {
		t.Fatal(err)
	}
	f.open()
	f.want(1, "0 a", "0 b", "0 c", "!4-6", "1 c", "2 a", "2 b", "2 c", "3 a", "3 b", "3 c")
	f.want(4, "!4-6", "1 c", "2 a", "2 b", "2 c", "3 a", "3 b", "3 c")
	n, err := f.log.Reader(Filter{}).Count(2)
	if err != nil || n.Records != 11 {
		t.Errorf("count from 2: %+v, %v", n, err)
	}
	f.close()
}

// TestOpeningSurvivesACrashAtEveryStep kills the process, and cuts the power, after each of its first steps.
func TestOpeningSurvivesACrashAtEveryStep(t *testing.T) {
	for step := range 160 {
		w := sim.New(uint64(step))
		disk := w.NewDisk()
		o := Options{Dir: "/data/streams/app", Name: "app", Shards: 1}
		open := func(p *sim.Process) *Disk {
			o.FS, o.Clock, o.Rand = disk.FS(p), p, p
			d, _, err := Open(o)
			if err != nil {
				w.Fail(err)
				return nil
			}
			return d
		}
		err := w.Run(func() {
			if err := disk.FS(w.Root()).MkdirAll("/data"); err != nil {
				w.Fail(err)
			}
			f := &fixture{t: t}
			one := w.NewProcess("one", disk, 0)
			finish(w, one, func() {
				f.log = open(one)
				f.append("a")
				f.append("b")
			})
			one.Kill(false)
			for i := range 2 {
				two := w.NewProcess("two", disk, 0)
				o.Shards = 2
				two.Go("open", func() { open(two) })
				w.Root().Sleep(time.Duration(step) * time.Microsecond)
				two.Kill(i == 1)
			}
			three := w.NewProcess("three", disk, 0)
			finish(w, three, func() {
				if f.log = open(three); f.log != nil {
					f.want(1, "a", "b")
				}
			})
		})
		if err != nil {
			t.Fatalf("crash after step %d: %v", step, err)
		}
	}
}

// finish runs f as an actor of p, to its end.
func finish(w *sim.World, p *sim.Process, f func()) {
	done := make(chan struct{})
	p.Go("finish", func() {
		f()
		close(done)
	})
	if err := w.Root().Wait(context.Background(), hydrant.Never, done); err != nil {
		w.Fail(err)
	}
}

func TestThousandsOfSegmentsAreOpenedByTheirHeaders(t *testing.T) {
	f, _, _ := newSimFixture(t)
	f.open()
	const n = 3000
	for i := range n {
		f.append(fmt.Sprint(i))
		f.log.w.left = true // a new segment for the next one
	}
	f.append("last")
	f.reopen()
	if f.rec.Segments != n+1 {
		t.Errorf("%d segments were found, want %d", f.rec.Segments, n+1)
	}
	if got := f.read(1); len(got) != n+1 || got[n] != "last" || got[7] != "7" {
		t.Errorf("%d records were read", len(got))
	}
	if c, err := f.log.Reader(Filter{}).Count(n / 2); err != nil || c.Records != n/2+2 {
		t.Errorf("count: %+v, %v", c, err)
	}
	if open := len(f.log.files.open); open > openFiles {
		t.Errorf("%d files are open", open)
	}
	f.close()
}
