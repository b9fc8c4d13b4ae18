package buffer

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hydrantd/hydrant"
)

// BenchmarkAppend appends from many goroutines, and tells the records acknowledged a second beside what one writer gets who
// writes and syncs each record into an allocated file, on the same disk in the same run.
func BenchmarkAppend(b *testing.B) {
	for _, row := range []struct{ appenders, size int }{{1, 300}, {64, 300}, {256, 300}, {64, 100_000}, {256, 100_000}} {
		b.Run(fmt.Sprintf("%dx%d", row.appenders, row.size), func(b *testing.B) {
			bare := bareSyncs(b, row.size)
			f := newFixtureIn(b)
			d, _, err := Open(f)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(row.size))
			b.SetParallelism((row.appenders + 1) / 2)
			b.ResetTimer()
			start := time.Now()
			b.RunParallel(func(pb *testing.PB) {
				var batch hydrant.Batch
				batch.Append(hydrant.Record{Data: make([]byte, row.size)})
				for pb.Next() {
					if _, err := d.Append(context.Background(), &Write{Batch: &batch}); err != nil {
						b.Error(err)
						return
					}
				}
			})
			rate := float64(b.N) / time.Since(start).Seconds()
			b.ReportMetric(rate, "acks/s")
			b.ReportMetric(rate/bare, "x-bare")
			b.StopTimer()
			if err := d.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func newFixtureIn(b *testing.B) Options {
	return Options{
		FS: hydrant.OS{}, Clock: hydrant.NewSystemClock(), Rand: rand.Reader,
		Dir: filepath.Join(b.TempDir(), "streams", "app"), Name: "app",
	}
}

// bareSyncs is how often a second size bytes can be written and synced by one writer.
func bareSyncs(b *testing.B, size int) float64 {
	b.Helper()
	var fsys hydrant.OS
	f, err := fsys.Open(filepath.Join(b.TempDir(), "bare"), os.O_RDWR|os.O_CREATE)
	if err != nil {
		b.Fatal(err)
	}
	const n = 200
	if err := f.Allocate(int64(n * size)); err != nil {
		b.Fatal(err)
	}
	data := make([]byte, size)
	start := time.Now()
	for i := range n {
		if _, err := f.WriteAt(data, int64(i*size)); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(hydrant.PointBlock); err != nil {
			b.Fatal(err)
		}
	}
	rate := n / time.Since(start).Seconds()
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return rate
}

// BenchmarkRead reads a backlog, and tells how that compares with reading the same files.
func BenchmarkRead(b *testing.B) {
	for _, size := range []int{300, 100_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			d, _, err := Open(newFixtureIn(b))
			if err != nil {
				b.Fatal(err)
			}
			const total = 64 << 20
			var batch hydrant.Batch
			for range max(1, 500_000/size) {
				batch.Append(hydrant.Record{Data: make([]byte, size)})
			}
			for n := int64(0); n < total; n += batch.Bytes() {
				if _, err := d.Append(context.Background(), &Write{Batch: &batch}); err != nil {
					b.Fatal(err)
				}
			}
			bytes := d.State().Appended.Bytes
			bare := bareRead(b, d)
			b.SetBytes(bytes)
			b.ResetTimer()
			start := time.Now()
			for range b.N {
				r := d.Reader(Filter{})
				for pos := hydrant.Position(1); pos < d.State().End; {
					batch.Reset()
					if pos, err = r.Read(pos, 0, &batch); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(bytes)*float64(b.N)/time.Since(start).Seconds()/bare, "x-bare")
			b.StopTimer()
			if err := d.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// bareRead is how many bytes a second the segments can be read with.
func bareRead(b *testing.B, d *Disk) float64 {
	b.Helper()
	n, start := int64(0), time.Now()
	buf := make([]byte, 1<<20)
	for _, s := range d.segs {
		f, err := d.o.FS.Open(filepath.Join(d.logDir(), s.name()), os.O_RDONLY)
		if err != nil {
			b.Fatal(err)
		}
		for at := int64(0); at+int64(len(buf)) <= s.limit; at += int64(len(buf)) {
			if err := readFull(f, buf, at); err != nil {
				b.Fatal(err)
			}
			n += int64(len(buf))
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
	return float64(n) / time.Since(start).Seconds()
}
