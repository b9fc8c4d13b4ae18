package delivery

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/sinks"
)

// null is a target that takes everything: what is left is the loop and gzip.
type null struct{}

type gzipEncoder struct {
	w  io.WriteCloser
	z  *gzip.Writer
	in int64
}

func (null) Encoder(_ sinks.Batch, sp sinks.Spool) (sinks.Encoder, error) {
	w, err := sp.Create("data.gz")
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewWriterLevel(w, 6)
	return &gzipEncoder{w: w, z: z}, err
}

func (e *gzipEncoder) Add(r *hydrant.Record) error {
	e.in += int64(len(r.Data)) / 8
	_, err := e.z.Write(r.Data)
	return err
}

func (e *gzipEncoder) Size() int64 { return e.in }

func (e *gzipEncoder) Finish(hydrant.Position) ([]sinks.Output, error) {
	if err := e.z.Close(); err != nil {
		return nil, err
	}
	return []sinks.Output{{File: "data.gz", Name: "data.gz"}}, e.w.Close()
}

func (e *gzipEncoder) Abort()                                   { e.w.Close() }
func (null) Ship(context.Context, *sinks.Shipment) error        { return nil }
func (null) Resolve(_ context.Context, s *sinks.Shipment) error { s.Delivered(0, 0); return nil }
func (null) Close() error                                       { return nil }
func benchRecord(i int) []byte {
	return fmt.Appendf(nil, `{"time":"2026-11-23T10:%02d:%02dZ","level":"info","service":"checkout-%d","user":%d,"path":"/v1/carts/%d/items","status":200,"ms":%d,"agent":"Mozilla/5.0 (X11; Linux x86_64)","trace":"%016x"}`+"\n",
		i/60%60, i%60, i%7, i*7919%100003, i*31337%99991, i*17%997, uint64(i)*0x9e3779b97f4a7c15)
}

// BenchmarkLoop reads 32 MB from the log, through gzip, the spool and the journal, into nothing, and tells how much
// longer that takes than gzip alone on the same data in the same run.
func BenchmarkLoop(b *testing.B) {
	const total, size = 32 << 20, 8 << 20
	dir, clock := b.TempDir(), hydrant.NewSystemClock()
	quiet := slog.New(slog.DiscardHandler)
	log, _, err := buffer.Open(buffer.Options{FS: hydrant.OS{}, Clock: clock, Rand: rand.Reader, Dir: filepath.Join(dir, "log"), Name: "bench", Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	// A cursor that stays behind keeps the records for every round.
	keep, err := log.Cursor("keep", buffer.Oldest)
	if err != nil {
		b.Fatal(err)
	}
	defer keep.Close()
	var batch hydrant.Batch
	var all [][]byte
	for n, i := 0, 0; n < total; i++ {
		all = append(all, benchRecord(i))
		batch.Append(hydrant.Record{Data: all[i]})
		if n += len(all[i]); batch.Bytes() >= 1<<20 || n >= total {
			if _, err := log.Append(context.Background(), &buffer.Write{Batch: &batch}); err != nil {
				b.Fatal(err)
			}
			batch.Reset()
		}
	}
	b.SetBytes(total)
	var loop, bare time.Duration
	round := 0
	for b.Loop() {
		round++
		at := clock.Mono()
		z, err := gzip.NewWriterLevel(io.Discard, 6)
		if err != nil {
			b.Fatal(err)
		}
		for _, r := range all {
			z.Write(r)
		}
		z.Close()
		bare += clock.Mono() - at

		name := fmt.Sprint("round", round)
		d, err := Open(Options{
			Pipeline: "bench", Destination: name, Log: log, Sink: null{}, Errors: null{}, FS: hydrant.OS{}, Clock: clock, Rand: rand.Reader,
			Memory: hydrant.NewMemory(64 << 20), Logger: quiet, Go: func(_ string, f func()) { go f() }, Dir: filepath.Join(dir, name),
			Batch: Batch{size, time.Minute},
		})
		if err != nil {
			b.Fatal(err)
		}
		drain := make(chan struct{})
		close(drain)
		at = clock.Mono()
		if err := d.Run(context.Background(), drain); err != nil {
			b.Fatal(err)
		}
		loop += clock.Mono() - at
		if c := d.Counts(); c.Delivered.Records != int64(len(all)) {
			b.Fatalf("%d records delivered, want %d", c.Delivered.Records, len(all))
		}
	}
	b.ReportMetric(float64(loop)/float64(bare), "loop/gzip")
	b.ReportMetric(float64(total)*float64(round)/loop.Seconds()/1e6, "loop-MB/s")
}
