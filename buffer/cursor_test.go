package buffer

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/hydrantd/hydrant"
)

func (f *fixture) cursor(name string, start Start) *cursor {
	f.t.Helper()
	c, err := f.log.Cursor(name, start)
	if err != nil {
		f.t.Fatal(err)
	}
	return c.(*cursor)
}

// commit writes one frame.
func (f *fixture) commit(c Cursor, to hydrant.Position, bodies ...string) {
	f.t.Helper()
	var entries []Entry
	for _, b := range bodies {
		entries = append(entries, Entry{200, []byte(b)})
	}
	if err := c.Write(hydrant.PointDone, to, entries, func() []Entry { return []Entry{{201, []byte("snapshot")}} }); err != nil {
		f.t.Fatal(err)
	}
}

func entries(c Cursor) string {
	var all []string
	for _, e := range c.Entries() {
		all = append(all, string(e.Body))
	}
	return strings.Join(all, " ")
}

func TestAJournalThatIsDamaged(t *testing.T) {
	for _, row := range []struct {
		name    string
		damage  func(b []byte) // the file in use
		entries string         // what comes back; "" = it holds
		at      hydrant.Position
	}{
		{"not at all", func([]byte) {}, "one two three", 4},
		{"in its last frame, as a write that was cut off is", func(b []byte) { b[fileHeaderLen+3*frameAlign+30] ^= 1 }, "one two", 3},
		{"in a frame with another behind it", func(b []byte) { b[fileHeaderLen+2*frameAlign+30] ^= 1 }, "", 2},
		{"in one bit of its header, which is put right", func(b []byte) { b[20] ^= 1 }, "one two three", 4},
		{"in its header", func(b []byte) { clear(b[100:110]); b[20], b[30], b[40] = 1, 2, 3 }, "", 0},
		{"by a header of nothing", func(b []byte) { clear(b[:fileHeaderLen]) }, "", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			f, _, _ := newSimFixture(t)
			f.open()
			f.append("a", "b", "c", "d")
			c := f.cursor("archive", Oldest)
			other := f.cursor("other", Oldest)
			f.commit(c, 2, "one")
			f.commit(c, 3, "two")
			f.commit(c, 4, "three")
			f.commit(other, 5, "fine")
			name := c.path(c.at.which)
			if err := errors.Join(c.Close(), other.Close()); err != nil {
				t.Fatal(err)
			}
			f.close()
			b, err := readWhole(f.o.FS, name)
			if err != nil {
				t.Fatal(err)
			}
			row.damage(b)
			f.patch(name, 0, b)
			f.open()
			got, err := f.log.Cursor("archive", Oldest)
			var damaged *DamagedCursor
			switch {
			case row.entries == "" && (!errors.As(err, &damaged) || damaged.File != path.Base(name) && row.at > 0):
				t.Errorf("opened, or the wrong error: %v", err)
			case row.entries != "" && err != nil:
				t.Error(err)
			case row.entries != "" && (entries(got) != row.entries || got.Committed() != row.at):
				t.Errorf("%q and position %d came back, want %q and %d", entries(got), got.Committed(), row.entries, row.at)
			}
			for _, i := range f.log.Cursors() {
				if i.Name == "archive" && (i.Committed != row.at || (i.Err != nil) != (row.entries == "")) {
					t.Errorf("the log says %+v", i)
				}
			}
			// Neither is the other delivery harmed, nor does what may be pending go.
			if other := f.cursor("other", Oldest); entries(other) != "fine" || other.Committed() != 5 {
				t.Errorf("the other one: %q, %d", entries(other), other.Committed())
			}
			if h := f.log.State().Horizon; h > max(row.at, 1) {
				t.Errorf("the horizon is %d, the cursor at %d", h, row.at)
			}
			f.close()
		})
	}
}

func TestALogThatEndsBeforeItsCursors(t *testing.T) {
	f, _, _ := newSimFixture(t)
	f.open()
	f.append("first record", "b", "c", "d")
	c := f.cursor("archive", Oldest)
	slow := f.cursor("slow", Oldest)
	f.commit(c, 5)
	f.commit(slow, 2)
	f.kill()
	seg := f.segments()[0]
	block, _ := f.where(seg, "first record")
	f.patch(seg, block, make([]byte, blockAlign)) // the volume of yesterday
	_, _, err := Open(f.o)
	want := "the log ends before what was already delivered: app/archive has delivered up to position 5, the log ends at 1: " +
		"restore the newer volume, or go on without those records by `hydrant run --accept-gap app/archive`"
	if !errors.Is(err, ErrBehind) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "app/slow") {
		t.Fatalf("error %v", err)
	}
	f.o.AcceptGap = []string{"archive", "slow"}
	f.open()
	f.o.AcceptGap = nil
	if r := f.append("e"); r.Position(0) != 5 {
		t.Fatalf("position %d is given twice", r.Position(0))
	}
	for range 3 {
		f.want(2, "!2-5", "e")
		f.want(3, "!3-5", "e")
		if s := f.log.State(); s.Appended.Records != 5 || s.Damaged.Records != 4 || s.End != 6 {
			t.Errorf("state %+v", s)
		}
		if n, err := f.log.Reader(Filter{}).Count(2); err != nil || n != (Totals{4, 1}) {
			t.Errorf("count %+v, %v", n, err)
		}
		f.reopen()
	}
	f.close()
}

func TestForgottenCursorsHoldNothingBack(t *testing.T) {
	f, _, _ := newSimFixture(t)
	f.open()
	f.commit(f.cursor("kept", Oldest), 1)
	f.commit(f.cursor("orphan", Oldest), 1)
	f.append("a")
	f.append("b")
	f.reopen()
	f.append("c")
	f.commit(f.cursor("kept", Oldest), 4)
	f.reopen()
	if h := f.log.State().Horizon; h != 1 {
		t.Fatalf("the horizon is %d although an orphan is at 1 (I6)", h)
	}
	f.close()
	if err := Forget(f.o.FS, f.o.Dir, "nobody"); err == nil || !strings.Contains(err.Error(), "kept, orphan") {
		t.Errorf("error %v", err)
	}
	if err := Forget(f.o.FS, f.o.Dir, "orphan"); err != nil {
		t.Fatal(err)
	}
	f.open()
	if got := f.log.Cursors(); len(got) != 1 || got[0].Name != "kept" || got[0].Open {
		t.Errorf("cursors %+v", got)
	}
	f.cursor("kept", Oldest)
	if h := f.log.State().Horizon; h != 4 {
		t.Errorf("the horizon is %d", h)
	}
	list, err := f.o.FS.ReadDir(path.Join(f.o.Dir, "cursors"))
	if err != nil || len(list) != 3 {
		t.Errorf("%d files are left: %v", len(list), err)
	}
	f.close()
}

func TestAJournalOfANewerVersionIsLeftAlone(t *testing.T) {
	f, disk, _ := newSimFixture(t)
	f.open()
	c := f.cursor("archive", Oldest)
	name := c.path(c.at.which)
	f.close()
	h := cursorHeader{generation: 9, log: f.o.logID(t, f), must: 1}
	f.patch(name, 0, h.encode())
	before := contents(t, f, disk)
	if _, _, err := Open(f.o); !errors.Is(err, ErrNewerFormat) {
		t.Fatalf("error %v", err)
	}
	if after := contents(t, f, disk); after[name] != before[name] || len(after) != len(before) {
		t.Error("files were changed")
	}
}

// logID reads the id out of the first segment.
func (Options) logID(t *testing.T, f *fixture) hydrant.LogID {
	t.Helper()
	b, err := readWhole(f.o.FS, f.segments()[0])
	if err != nil {
		t.Fatal(err)
	}
	h, err := parseSegmentHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	return h.log
}

// failing is an FS whose syncs fail at one point.
type failing struct {
	hydrant.FS
	at  hydrant.Point
	err error
}

func (f *failing) Open(name string, flag int) (hydrant.File, error) {
	file, err := f.FS.Open(name, flag)
	return failingFile{file, f}, err
}

type failingFile struct {
	hydrant.File
	fs *failing
}

func (f failingFile) Sync(p hydrant.Point) error {
	if p == f.fs.at {
		return f.fs.err
	}
	return f.File.Sync(p)
}

func TestAFailedSyncOfAJournalIsNotRetried(t *testing.T) {
	f, _, _ := newSimFixture(t)
	bad := &failing{FS: f.o.FS}
	f.o.FS = bad
	f.open()
	f.append("a", "b")
	c := f.cursor("archive", Oldest)
	f.commit(c, 2)
	bad.at, bad.err = hydrant.PointReady, errors.New("input/output error")
	if err := c.Write(hydrant.PointReady, 2, nil, nil); !errors.Is(err, bad.err) {
		t.Fatalf("error %v", err)
	}
	bad.at = ""
	if err := c.Write(hydrant.PointReady, 3, nil, nil); !errors.Is(err, bad.err) || c.Committed() != 2 {
		t.Errorf("a second write: %v, committed %d", err, c.Committed())
	}
	f.close()
}

func TestAFailedSyncPoisonsTheLog(t *testing.T) {
	for _, p := range []hydrant.Point{hydrant.PointBlock, hydrant.PointSegmentHeader, hydrant.PointSegmentDir} {
		f, _, _ := newSimFixture(t)
		bad := &failing{FS: f.o.FS}
		f.o.FS = bad
		f.open()
		f.append("a")
		f.log.w.left = p != hydrant.PointBlock
		bad.at, bad.err = p, errors.New("input/output error")
		if _, err := f.log.Append(t.Context(), &Write{Batch: batch("b")}); !errors.Is(err, ErrPoisoned) || !errors.Is(err, bad.err) {
			t.Errorf("%s: error %v", p, err)
		}
		bad.at = ""
		if _, err := f.log.Append(t.Context(), &Write{Batch: batch("c")}); !errors.Is(err, ErrPoisoned) {
			t.Errorf("%s: appended after a failed sync (I7): %v", p, err)
		}
		if s := f.log.State(); !errors.Is(s.Poisoned, bad.err) || s.End != 2 {
			t.Errorf("%s: state %+v", p, s)
		}
		f.want(1, "a")
		f.commit(f.cursor("archive", Oldest), 2)
		f.close()
	}
}

func TestSourcePositionsAreKeptAcrossCheckpoints(t *testing.T) {
	f, _, _ := newSimFixture(t)
	f.open()
	for i := range 5 {
		notes := []Note{
			SourcePosition{"tail", "b", fmt.Append(nil, i)}.Note(),
			SourcePosition{"tail", fmt.Sprint("a", i%2), fmt.Append(nil, i)}.Note(),
			SourcePosition{"syslog", "x", []byte("1")}.Note(),
		}
		if _, err := f.log.Append(t.Context(), &Write{Batch: batch("r"), Notes: notes}); err != nil {
			t.Fatal(err)
		}
		f.log.w.left = i == 2
	}
	for range 3 {
		got := ""
		f.log.Positions("tail", func(key string, pos []byte) bool {
			got += fmt.Sprintf("%s=%s ", key, pos)
			return true
		})
		if got != "a0=4 a1=3 b=4 " {
			t.Errorf("positions %q", got)
		}
		f.reopen()
	}
	f.close()
}

func TestRetentionIsByRunningTime(t *testing.T) {
	f, _, p := newSimFixture(t)
	f.o.Retention = time.Hour
	f.open()
	f.commit(f.cursor("archive", Oldest), 1)
	for i := range 3 {
		f.append(fmt.Sprint(i))
		f.log.w.left = true
	}
	f.append("3")
	horizon := func(want hydrant.Position, when string) {
		t.Helper()
		f.log.release()
		if h := f.log.State().Horizon; h != want {
			t.Errorf("%s: the horizon is %d, want %d", when, h, want)
		}
	}
	c := f.log.cursors["archive"].holder
	f.commit(c, 5)
	horizon(1, "at once")
	p.Jump(3 * time.Hour)
	horizon(1, "when the clock jumped ahead")
	f.reopen()
	f.cursor("archive", Oldest)
	horizon(1, "when it is opened with a clock that is ahead")
	p.Sleep(30 * time.Minute)
	p.Jump(-5 * time.Hour)
	f.reopen()
	f.cursor("archive", Oldest)
	horizon(1, "after half an hour, and a clock that went back")
	p.Sleep(59 * time.Minute)
	horizon(1, "after an hour less a minute of this opening: the clock went back, so how long the log was closed is not known")
	p.Sleep(2 * time.Minute)
	horizon(5, "after more than an hour")
	f.close()
}

func TestRetentionGivesWayToWhatArrives(t *testing.T) {
	f, _, _ := newSimFixture(t)
	f.o.Retention, f.o.MaxBytes = 1000*time.Hour, 8<<20
	f.open()
	done, waiting := f.cursor("done", Oldest), f.cursor("waiting", Oldest)
	big := string(make([]byte, 200<<10))
	for i := range hydrant.Position(100) {
		if _, err := f.log.Append(t.Context(), &Write{Batch: batch(big)}); err != nil {
			t.Fatalf("record %d of what everybody has been given: %v", i+1, err)
		}
		f.commit(done, i+2)
		f.commit(waiting, i+2)
	}
	s := f.log.State()
	if s.Horizon == 1 || s.Horizon > 90 || s.Disk > f.o.MaxBytes {
		t.Errorf("records from %d on are kept in %d bytes, want as many as %d bytes hold", s.Horizon, s.Disk, f.o.MaxBytes)
	}
	// What somebody still needs does not give way.
	for range 100 {
		_, err := f.log.Append(t.Context(), &Write{Batch: batch(big)})
		if errors.Is(err, ErrFull) {
			if h := f.log.State().Horizon; h > 101 {
				t.Errorf("the horizon is %d, and a cursor waits at 101", h)
			}
			f.close()
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		f.commit(done, f.log.State().End)
	}
	t.Error("the log never became full")
}

func TestTheReserveIsLentAndTakenBack(t *testing.T) {
	f, disk, p := newSimFixture(t)
	f.open()
	c := f.cursor("archive", Oldest)
	size := func() int64 {
		b, err := readWhole(f.o.FS, f.log.reservePath("archive"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return int64(len(b))
	}
	if size() != reserveLeast {
		t.Fatalf("%d bytes are kept back", size())
	}
	used := disk.Used()
	if err := c.Lend(100 << 10); err != nil || size() != reserveLeast-100<<10 || disk.Used() != used-100<<10 {
		t.Fatalf("%d bytes are left: %v", size(), err)
	}
	if err := c.Lend(200 << 10); err == nil {
		t.Error("more was lent than is there")
	}
	disk.Capacity = disk.Used() + 50<<10
	big := string(make([]byte, 150<<10)) // does not fit into what the segment has
	if _, err := f.log.Append(t.Context(), &Write{Batch: batch(big)}); !errors.Is(err, ErrFull) {
		t.Errorf("the log grew while the reserve was short: %v", err)
	}
	p.Sleep(fullRetry)
	f.append("small") // fits
	disk.Capacity = 0
	f.append(big)
	if size() != reserveLeast {
		t.Errorf("%d bytes are kept back again", size())
	}
	f.append(string(make([]byte, 900<<10)))
	if size() < 900<<10+reserveMargin {
		t.Errorf("%d bytes are kept back, the largest block has %d", size(), 900<<10)
	}
	f.close()
}

func TestASegmentGoesAfterTheSyncOfItsDone(t *testing.T) {
	f, _, _ := newSimFixture(t)
	bad := &failing{FS: f.o.FS}
	f.o.FS = bad
	f.open()
	c := f.cursor("archive", Oldest)
	f.append("a")
	f.log.w.left = true
	f.append("b")
	bad.at, bad.err = hydrant.PointDone, errors.New("input/output error")
	if err := c.Write(hydrant.PointDone, 3, nil, nil); !errors.Is(err, bad.err) {
		t.Fatalf("error %v", err)
	}
	if h := f.log.State().Horizon; h != 1 {
		t.Errorf("the horizon is %d, and the cursor not durable (I6)", h)
	}
	f.want(1, "a", "b")
	f.close()
}

func TestACursorThatCannotBeMadeKeepsWhatItBeginsWith(t *testing.T) {
	f := newFixture(t)
	f.open()
	f.commit(f.cursor("quick", Oldest), 1)
	f.append("one")
	f.reopen()
	f.o.Cursors = []string{"quick", "late"}
	temps := []string{path.Join(f.o.Dir, "cursors/late.a.tmp"), path.Join(f.o.Dir, "cursors/late.b.tmp")}
	for range 2 {
		quick := f.cursor("quick", Oldest)
		for _, name := range temps {
			if err := os.Mkdir(name, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := f.log.Cursor("late", Oldest); err == nil {
			t.Fatal("the cursor was made where it cannot be")
		}
		f.commit(quick, f.log.State().End)
		if at := f.log.State().Horizon; at != 1 {
			t.Errorf("the oldest record kept is %d, want 1", at)
		}
		if n := len(f.log.Cursors()); n != 1 {
			t.Errorf("%d cursors, want the one that is there", n)
		}
		for _, name := range temps {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
		f.reopen()
	}
	if at := f.cursor("late", Oldest).Committed(); at != 1 {
		t.Errorf("it begins at %d, want 1", at)
	}
	f.close()
}
