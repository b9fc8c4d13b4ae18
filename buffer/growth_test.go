package buffer

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hydrantd/hydrant"
)

// TestAJournalGrowsOnAFullDisk lets the state of a delivery outgrow its journal while not a byte is left: what is kept back for
// the spool has to serve, or the delivery could never again free anything.
func TestAJournalGrowsOnAFullDisk(t *testing.T) {
	f, disk, _ := newSimFixture(t)
	f.open()
	c := f.cursor("archive", Oldest)
	disk.Capacity = disk.Used()
	var held []Entry
	for i := range 120 {
		e := Entry{200, fmt.Appendf(nil, "%d %s", i, strings.Repeat("x", 1000))}
		if err := c.Write(hydrant.PointReady, 1, []Entry{e}, func() []Entry { return held }); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		held = append(held, e)
	}
	if left := f.log.cursors["archive"].reserve.size; left >= reserveLeast || left < 0 {
		t.Errorf("%d bytes are kept back", left)
	}
	f.reopen()
	if got := f.cursor("archive", Oldest).Entries(); len(got) != len(held) || string(got[99].Body) != string(held[99].Body) {
		t.Errorf("%d entries came back", len(got))
	}
	f.close()
}

// TestAJournalHoldsAnyNumberOfEntries parks a batch for so long that more entries pile up behind it than a u16 can count.
func TestAJournalHoldsAnyNumberOfEntries(t *testing.T) {
	for _, n := range []int{manyEntries - 1, manyEntries, manyEntries + 1, 3 * manyEntries} {
		f, _, _ := newSimFixture(t)
		f.open()
		c := f.cursor("archive", Oldest)
		entries := slices.Repeat([]Entry{{200, []byte("done")}}, n)
		if err := c.Write(hydrant.PointDone, 1, entries, func() []Entry { return nil }); err != nil {
			t.Fatal(err)
		}
		f.reopen()
		if got := f.cursor("archive", Oldest).Entries(); len(got) != n || got[n-1].Type != 200 || string(got[n-1].Body) != "done" {
			t.Errorf("%d of %d entries came back", len(got), n)
		}
		f.close()
	}
}
