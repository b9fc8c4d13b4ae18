package buffer

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/hydrantd/hydrant"
)

// metered is an FS that counts the bytes read from segments.
type metered struct {
	hydrant.FS
	read int64
}

func (c *metered) Open(name string, flag int) (hydrant.File, error) {
	file, err := c.FS.Open(name, flag)
	if err != nil || !strings.HasSuffix(name, ".seg") {
		return file, err
	}
	return meteredFile{file, c}, nil
}

type meteredFile struct {
	hydrant.File
	c *metered
}

func (f meteredFile) ReadAt(p []byte, at int64) (int, error) {
	f.c.read += int64(len(p))
	return f.File.ReadAt(p, at)
}

// TestTinyRecordsAreReadInSteps reads blocks with far more records than a chunk is to have.
func TestTinyRecordsAreReadInSteps(t *testing.T) {
	f, _, _ := newSimFixture(t)
	fs := &metered{FS: f.o.FS}
	f.o.FS, f.o.Shards = fs, 2
	f.open()
	const n = 10 * HintRecords
	var b hydrant.Batch
	keys := map[int]int{} // records by lane
	for i := range n {
		r := hydrant.Record{Key: fmt.Append(nil, i%100), Data: fmt.Append(nil, i)}
		keys[f.log.lanes.of(r.Key)]++
		b.Append(r)
	}
	for range 2 {
		if _, err := f.log.Append(t.Context(), &Write{Batch: &b}); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 * HintRecords / 500 {
		f.append(make([]string, 500)...)
	}
	end := f.log.State().End
	for name, row := range map[string]struct {
		filter Filter
		want   int
	}{
		"all shards": {Filter{}, int(end) - 1},
		"one shard":  {Filter{One: true, Shard: 1}, -1},
	} {
		r := f.log.Reader(row.filter)
		var into hydrant.Batch
		fs.read = 0
		got, steps := 0, 0
		most := int64(0)
		for pos := hydrant.Position(1); pos < end; steps++ {
			into.Reset()
			next, err := r.Read(pos, 0, &into)
			if err != nil || next <= pos || into.Len() > HintRecords+500 {
				t.Fatalf("%s: from %d to %d: %d records: %v", name, pos, next, into.Len(), err)
			}
			for i := range into.Len() {
				rec := into.At(i)
				number, _ := strconv.Atoi(string(rec.Data))
				fits := rec.Pos > 2*n && rec.Key == nil || string(rec.Key) == strconv.Itoa(number%100)
				if rec.Pos < pos || rec.Pos >= next || i > 0 && rec.Pos <= into.At(i-1).Pos || !fits {
					t.Fatalf("%s: position %d: %q with the key %q", name, rec.Pos, rec.Data, rec.Key)
				}
			}
			got += into.Len()
			most = max(most, into.Cap())
			pos = next
		}
		if row.want >= 0 && got != row.want || row.want < 0 && got < keys[1] {
			t.Errorf("%s: %d records, want %d", name, got, row.want)
		}
		if size := f.log.State().Disk; fs.read > 2*size {
			t.Errorf("%s: %d bytes were read of %d", name, fs.read, size)
		}
		if most < HintRecords*100 || most > 4<<20 {
			t.Errorf("%s: a chunk held up to %d bytes", name, most)
		}
		if r := r.(*reader); r.kept.buf != nil {
			t.Errorf("%s: %d bytes are held at the end", name, len(r.kept.buf))
		}
	}
	f.close()
}

func TestALargeRunIsReadFromAnywhere(t *testing.T) {
	f, disk, _ := newSimFixture(t)
	f.open()
	var b hydrant.Batch
	for i := range 3 * HintRecords {
		b.Append(hydrant.Record{Data: fmt.Append(nil, i)})
	}
	if _, err := f.log.Append(t.Context(), &Write{Batch: &b}); err != nil {
		t.Fatal(err)
	}
	r := f.log.Reader(Filter{})
	var into hydrant.Batch
	for _, row := range []struct{ from, limit, to hydrant.Position }{
		{1, 0, 1 + HintRecords}, {1 + HintRecords, 9000, 9000}, {5, 7, 7}, {7, 0, 7 + HintRecords}, {6, 0, 6 + HintRecords},
		{20_000, 0, 3*HintRecords + 1}, {3, 4, 4},
	} {
		into.Reset()
		next, err := r.Read(row.from, row.limit, &into)
		if err != nil || next != row.to || into.Len() != int(row.to-row.from) || string(into.At(0).Data) != fmt.Sprint(row.from-1) {
			t.Errorf("from %d to %d: %d records up to %d: %v", row.from, row.limit, into.Len(), next, err)
		}
	}
	// What counts for the size of a batch is what the delivery adds for each record, too.
	if e, err := r.Measure(1, 100_000, 32); err != nil || !e.Whole || e.To < 2500 || e.To > 3100 {
		t.Errorf("measured %+v, %v", e, err)
	}
	name := f.segments()[0]
	_, at := f.where(name, "12345")
	if !disk.Flip(name, at*8) {
		t.Fatal("not flipped")
	}
	into.Reset()
	next, err := f.log.Reader(Filter{}).Read(5, 0, &into)
	var c *Corrupt
	if !errors.As(err, &c) || next != 3*HintRecords+1 || c.Lost != (hydrant.Span{From: 5, To: next}) || into.Len() != 0 {
		t.Errorf("damaged: %d records up to %d: %v", into.Len(), next, err)
	}
	f.close()
}

// TestALogHoldsNoMemoryBetweenAppends appends many records and large ones to many logs: what that took must not stay.
func TestALogHoldsNoMemoryBetweenAppends(t *testing.T) {
	var logs []*fixture
	for range 12 {
		f, _, _ := newSimFixture(t)
		f.open()
		logs = append(logs, f)
	}
	heap := func() int64 {
		var m runtime.MemStats
		for range 3 { // what a pool holds goes with the second collection
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	tiny := make([]string, 20_000)
	before := heap()
	for _, f := range logs {
		f.append(tiny...)
	}
	// The disks of the simulation are in the heap, too.
	if grown := heap() - before; grown > int64(len(logs))<<20 {
		t.Errorf("%d logs hold %d bytes more after an append each", len(logs), grown)
	}
	for _, f := range logs {
		if sent := f.log.State().End - 1; sent != 20_000 {
			t.Errorf("%d records", sent)
		}
		f.close()
	}
}

// TestAWriteOfTinyRecordsIsBounded says that what frames a record counts: a body of newlines alone can be too large.
func TestAWriteOfTinyRecordsIsBounded(t *testing.T) {
	var empty, b hydrant.Batch
	for range 1000 {
		empty.View(hydrant.Record{})
	}
	// The largest block has room for 4 Mi records of nothing: 16 Mi newlines, the largest body, are refused.
	if n := payloadSize(&empty, nil); n < 4*1000 || MaxBlock/(n/1000) > 4<<20 {
		t.Errorf("%d bytes for 1000 empty records", n)
	}
	for i := range 100_000 {
		b.View(hydrant.Record{Key: []byte{byte(i)}})
	}
	size := payloadSize(&b, nil)
	for _, row := range []struct {
		max  int64
		want error
	}{{size, ErrTooLarge}, {size + firstAlloc + 4<<10, nil}} {
		f, _, _ := newSimFixture(t)
		f.o.Shards, f.o.MaxBytes = 3, row.max
		f.open()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := f.log.Append(t.Context(), &Write{Batch: &b})
		runtime.ReadMemStats(&after)
		if !errors.Is(err, row.want) {
			t.Errorf("of %d bytes: %v, want %v", row.max, err, row.want)
		}
		if took := after.TotalAlloc - before.TotalAlloc; err != nil && took > 100_000 {
			t.Errorf("refusing it took %d bytes", took)
		}
		if err == nil && f.log.w.at > f.log.State().Disk {
			t.Errorf("the block ends at %d, the segment at %d", f.log.w.at, f.log.State().Disk)
		}
		f.close()
	}
}
