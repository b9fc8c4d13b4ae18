// Bench prints what hydrant's parts cost, as ratios to the bare operation underneath: each pair is measured alternately
// in one run, so that a busy machine slows both, and the medians of the rounds are compared. make bench adds the backlog.
package main

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/config"
	"github.com/hydrantd/hydrant/delivery"
	"github.com/hydrantd/hydrant/sinks"
	"github.com/hydrantd/hydrant/sinks/file"
	"github.com/hydrantd/hydrant/sinks/object"
)

// pair is a part of hydrant and the bare operation that it cannot do without. Each function does a fixed piece of work.
type pair struct {
	name, bareName string
	bytes          int64 // of records, in one piece of work
	bare, ours     func() error
}

// result is the median of the rounds.
type result struct {
	pair
	bareMBs, oursMBs, ratio float64
}

func main() {
	rounds := flag.Int("rounds", 9, "how often each pair is measured")
	flag.Parse()
	if err := run(os.Stdout, *rounds, 1); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures everything and prints the table. shrink divides the work.
func run(w io.Writer, rounds, shrink int) error {
	dir, err := os.MkdirTemp("", "hydrant-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir, clock: hydrant.NewSystemClock(), shrink: shrink}
	pairs, err := b.pairs()
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "part\tbare operation\tbare MB/s\thydrant MB/s\thydrant : bare\t")
	for _, p := range pairs {
		r, err := measure(p, rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		fmt.Fprintf(table, "%s\t%s\t%.1f\t%.1f\t%.2f\t\n", r.name, r.bareName, r.bareMBs, r.oursMBs, r.ratio)
	}
	return table.Flush()
}

// measure runs both sides alternately. The first round warms up and does not count.
func measure(p pair, rounds int) (result, error) {
	var bare, ours, ratios []float64
	for i := range rounds + 1 {
		b, err := p.rate(p.bare)
		if err != nil {
			return result{}, err
		}
		o, err := p.rate(p.ours)
		if err != nil {
			return result{}, err
		}
		if i > 0 {
			bare, ours, ratios = append(bare, b), append(ours, o), append(ratios, o/b)
		}
	}
	return result{p, median(bare), median(ours), median(ratios)}, nil
}

// rate is in MB/s.
func (p pair) rate(work func() error) (float64, error) {
	began := time.Now()
	err := work()
	return float64(p.bytes) / 1e6 / time.Since(began).Seconds(), err
}

func median(of []float64) float64 {
	of = slices.Sorted(slices.Values(of))
	return of[len(of)/2]
}

type bench struct {
	dir    string
	clock  hydrant.Clock
	shrink int
	runs   int // deliveries so far: each has a name, and so a cursor, of its own
}

func (b *bench) pairs() ([]pair, error) {
	log, err := b.open("append")
	if err != nil {
		return nil, err
	}
	if _, err := log.Cursor("none", buffer.Latest); err != nil {
		return nil, err
	}
	backlog, err := b.open("backlog")
	if err != nil {
		return nil, err
	}
	megabyte, small := b.batch(1<<20), b.batch(1)
	loop := 128 / b.shrink
	if err := appendAll(backlog, megabyte, loop, 1); err != nil {
		return nil, err
	}
	text := text(megabyte)
	writes, groups := max(64/b.shrink, 1), max(8192/b.shrink, 64)
	ours := func(compression string) func() error {
		return func() error { return b.deliver(backlog, compression) }
	}
	return []pair{
		{
			"append, 1 MiB at a time", "pwrite, fdatasync", int64(writes) * megabyte.Bytes(),
			func() error { return b.write(writes, int(megabyte.Bytes())) },
			func() error { return appendAll(log, megabyte, writes, 1) },
		},
		{
			"append, 300 B from 64 producers", "pwrite, fdatasync, one by one", int64(groups) * small.Bytes(),
			func() error { return b.write(groups, 512) },
			func() error { return appendAll(log, small, groups, 64) },
		},
		{
			"encode, gzip", "gzip", int64(loop) * megabyte.Bytes(),
			func() error { return compress(io.Discard, text, loop) },
			func() error { return b.encode(megabyte, loop, "gzip") },
		},
		{
			"the loop, to files", "write, fdatasync", int64(loop) * megabyte.Bytes(),
			func() error { return b.copy(text, loop, false) },
			ours("none"),
		},
		{
			"the loop, to gzip files", "gzip, write, fdatasync", int64(loop) * megabyte.Bytes(),
			func() error { return b.copy(text, loop, true) },
			ours("gzip"),
		},
	}, nil
}

func (b *bench) open(name string) (buffer.Log, error) {
	log, _, err := buffer.Open(buffer.Options{
		FS: hydrant.OS{}, Clock: b.clock, Rand: rand.Reader, Dir: filepath.Join(b.dir, name), Name: name,
		Retention: time.Hour, Logger: slog.New(slog.DiscardHandler),
	})
	return log, err
}

// line is a log line of about 300 bytes; no two are the same.
func line(i int) []byte {
	r := uint64(i+1) * 0x9E3779B97F4A7C15
	return fmt.Appendf(nil, `{"time":"2026-01-01T%02d:%02d:%02dZ","level":"info","request":"%016x%016x","path":"/shop/item/%d?ref=%d","status":%d,"ms":%d,`+
		`"agent":"Mozilla/5.0 (X11; Linux x86_64) rev/%d","client":"10.%d.%d.%d","bytes":%d,"trace":"%016x"}`,
		i/3600%24, i/60%60, i%60, r, r*r, r>>40%10007, r>>20%97, 200+r>>33%5, r>>13%997, r>>7%31, r>>50&255, r>>42&255, r>>34&255, r>>17%65521, ^r)
}

// batch is at least so many bytes of records.
func (b *bench) batch(bytes int64) *hydrant.Batch {
	batch := &hydrant.Batch{}
	for i := 0; batch.Bytes() < bytes; i++ {
		batch.Append(hydrant.Record{Data: line(i)})
	}
	return batch
}

// text is what an object with the records of batch holds.
func text(batch *hydrant.Batch) []byte {
	var text []byte
	for i := range batch.Len() {
		text = append(append(text, batch.At(i).Data...), '\n')
	}
	return text
}

// write is the bare append: n writes of size bytes to a file that has its blocks, each synced.
func (b *bench) write(n, size int) error {
	f, err := os.Create(filepath.Join(b.dir, "bare"))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(n*size)); err != nil {
		return err
	}
	block := make([]byte, size)
	for i := range n {
		if _, err := f.WriteAt(block, int64(i*size)); err != nil {
			return err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return err
		}
	}
	return nil
}

// appendAll appends batch n times, from so many producers.
func appendAll(log buffer.Log, batch *hydrant.Batch, n, producers int) error {
	errs := make([]error, producers)
	var all sync.WaitGroup
	for p := range producers {
		all.Go(func() {
			for range n / producers {
				if _, err := log.Append(context.Background(), &buffer.Write{Batch: batch, Block: true}); err != nil {
					errs[p] = err
					return
				}
			}
		})
	}
	all.Wait()
	return firstOf(errs)
}

func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func compress(w io.Writer, text []byte, n int) error {
	z, err := gzip.NewWriterLevel(w, 6)
	if err != nil {
		return err
	}
	for range n {
		if _, err := z.Write(text); err != nil {
			return err
		}
	}
	return z.Close()
}

// copy is the bare loop: the text n times into one file, synced.
func (b *bench) copy(text []byte, n int, gzipped bool) error {
	f, err := os.Create(filepath.Join(b.dir, "bare"))
	if err != nil {
		return err
	}
	defer f.Close()
	if gzipped {
		err = compress(f, text, n)
	}
	for range n {
		if gzipped || err != nil {
			break
		}
		_, err = f.Write(text)
	}
	if err != nil {
		return err
	}
	return unix.Fdatasync(int(f.Fd()))
}

// nowhere is a spool that keeps nothing.
type nowhere struct{}

func (nowhere) Create(string) (io.WriteCloser, error) { return nowhere{}, nil }
func (nowhere) Write(p []byte) (int, error)           { return len(p), nil }
func (nowhere) Close() error                          { return nil }

func (b *bench) encode(batch *hydrant.Batch, n int, compression string) error {
	layout := object.Defaults()
	layout.Compression = compression
	format, err := object.New(layout, rand.Reader, false)
	if err != nil {
		return err
	}
	e, err := format.Encoder(sinks.Batch{Pipeline: "bench", Destination: "none", From: 1}, nowhere{}, "nowhere")
	if err != nil {
		return err
	}
	for range n {
		for i := range batch.Len() {
			if err := e.Add(batch.At(i)); err != nil {
				return err
			}
		}
	}
	_, err = e.Finish(hydrant.Position(1 + n*batch.Len()))
	return err
}

// deliver delivers the whole of log into a folder, as a destination that is new.
func (b *bench) deliver(log buffer.Log, compression string) error {
	b.runs++
	name := fmt.Sprintf("run-%d", b.runs)
	deps := sinks.Deps{
		Pipeline: "bench", Destination: name, FS: hydrant.OS{}, Clock: b.clock, Rand: rand.Reader,
		Log: slog.New(slog.DiscardHandler), Timeout: time.Minute,
	}
	open := func(folder string) (sinks.Sink, error) {
		c := file.Kind.Config().(*file.Config)
		c.Path, c.Compression = config.Path(filepath.Join(b.dir, folder)), compression
		return file.Kind.Open(c, deps)
	}
	sink, err := open("out")
	if err != nil {
		return err
	}
	defer sink.Close()
	refused, err := open("errors")
	if err != nil {
		return err
	}
	defer refused.Close()
	d, err := delivery.Open(delivery.Options{
		Pipeline: "bench", Destination: name, Log: log, Sink: sink, Errors: refused,
		FS: hydrant.OS{}, Clock: b.clock, Rand: rand.Reader, Memory: hydrant.NewMemory(256 << 20), Logger: deps.Log,
		Go:  func(_ string, f func()) { go f() },
		Dir: filepath.Join(b.dir, "spool", name), Batch: delivery.Batch{Size: 32 << 20, Interval: time.Minute}, Concurrency: 2,
	})
	if err != nil {
		return err
	}
	drain := make(chan struct{})
	close(drain)
	if err := d.Run(context.Background(), drain); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(b.dir, "out"))
}
