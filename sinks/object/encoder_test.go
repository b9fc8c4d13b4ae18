package object

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/sinks"
)

// spool is a spool of one file, in memory, that can be full.
type spool struct {
	bytes.Buffer
	closed int
	full   error
}

func (s *spool) Create(string) (io.WriteCloser, error) { return s, nil }

func (s *spool) Close() error { s.closed++; return nil }

func (s *spool) Write(b []byte) (int, error) {
	if s.full != nil {
		return 0, s.full
	}
	return s.Buffer.Write(b)
}

var someBatch = sinks.Batch{
	Pipeline: "app", Destination: "archive", Log: hydrant.LogID{1, 2, 3}, Run: hydrant.RunID{0xde, 0xad, 0xbe, 0xef},
	From: 1001, Time: 1535365800999, // 2018-08-27T10:30:00.999Z
}

func format(t testing.TB, change func(*Layout)) *Format {
	t.Helper()
	l := Defaults()
	change(&l)
	f, err := New(l, zeros{}, false)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func encode(t testing.TB, f *Format, b sinks.Batch, records ...string) (sinks.Output, []byte) {
	t.Helper()
	sp := &spool{}
	e, err := f.Encoder(b, sp, "target")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if err := e.Add(&hydrant.Record{Data: []byte(r)}); err != nil {
			t.Fatal(err)
		}
	}
	out, err := e.Finish(b.From + hydrant.Position(len(records)))
	if err != nil || len(out) != 1 || sp.closed != 1 {
		t.Fatalf("finish: %v, %d outputs, closed %d times", err, len(out), sp.closed)
	}
	if e.Size() != int64(sp.Len()) {
		t.Errorf("size %d, want %d", e.Size(), sp.Len())
	}
	return out[0], sp.Bytes()
}

func unpack(t testing.TB, name string, b []byte) string {
	t.Helper()
	var from io.Reader = bytes.NewReader(b)
	switch {
	case strings.HasSuffix(name, ".gz"):
		z, err := gzip.NewReader(from)
		if err != nil {
			t.Fatal(err)
		}
		from = z
	case strings.HasSuffix(name, ".zst"):
		z, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		from = z
	}
	text, err := io.ReadAll(from)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestNames(t *testing.T) {
	const rest = "app-archive-2018-08-27-10-30-00-aebagaaaaaaaaaaa-deadbeef-0000000000001001-0000000000001002"
	failed := someBatch
	failed.Suffix = "-delivery-failed"
	for _, c := range []struct {
		change func(*Layout)
		batch  sinks.Batch
		want   string
	}{
		{func(l *Layout) {}, someBatch, "2018/08/27/10/" + rest + ".gz"},
		{func(l *Layout) { l.Compression = "zstd" }, someBatch, "2018/08/27/10/" + rest + ".zst"},
		{func(l *Layout) { l.Compression = "none" }, someBatch, "2018/08/27/10/" + rest},
		{func(l *Layout) { l.Prefix = "legacy" }, someBatch, "legacy2018/08/27/10/" + rest + ".gz"},
		{func(l *Layout) { l.Prefix = "!{timestamp:yyyy}-" }, someBatch, "2018-" + rest + ".gz"},
		{func(l *Layout) { l.TimeZone = "Asia/Tokyo" }, someBatch, "2018/08/27/19/" + strings.Replace(rest, "-10-30-", "-19-30-", 1) + ".gz"},
		{func(l *Layout) {}, failed, "2018/08/27/10/" + rest + "-delivery-failed.json.gz"},
		{func(l *Layout) { l.Compression = "none" }, failed, "2018/08/27/10/" + rest + "-delivery-failed.json"},
		{func(l *Layout) { l.Prefix = "e/!{firehose:error-output-type}/!{timestamp:yyyy}/" }, failed, "e/delivery-failed/2018/" + rest + "-delivery-failed.json.gz"},
	} {
		out, _ := encode(t, format(t, c.change), c.batch, "x")
		if out.Name != c.want {
			t.Errorf("%s, want %s", out.Name, c.want)
		}
		if out.Target != "target" || out.Encoding != "" || out.File == "" {
			t.Errorf("%+v", out)
		}
	}
}

func TestContentEncodingIsSaidWhenAskedFor(t *testing.T) {
	for compression, want := range map[string]string{"gzip": "gzip", "zstd": "zstd", "none": ""} {
		l := Defaults()
		l.Compression = compression
		f, err := New(l, zeros{}, true)
		if err != nil {
			t.Fatal(err)
		}
		if out, _ := encode(t, f, someBatch, "x"); out.Encoding != want {
			t.Errorf("%s: %q, want %q", compression, out.Encoding, want)
		}
	}
}

func TestDelimiters(t *testing.T) {
	failed := someBatch
	failed.Suffix = "-x-failed"
	for _, c := range []struct {
		delimiter string
		batch     sinks.Batch
		records   []string
		want      string
	}{
		{"\n", someBatch, []string{"a", "b\n", "", "c\n\n"}, "a\nb\n\nc\n\n"},
		{"", someBatch, []string{"abc", "abc", "abc"}, "abcabcabc"},
		{"\r\n", someBatch, []string{"a\n", "b\r\n"}, "a\n\r\nb\r\n"},
		{"####", someBatch, []string{"a"}, "a####"},
		{"", failed, []string{"{}", "{}"}, "{}\n{}\n"},
		{"\n", someBatch, []string{"not \xff UTF-8\x00"}, "not \xff UTF-8\x00\n"},
	} {
		out, b := encode(t, format(t, func(l *Layout) { l.Delimiter = c.delimiter }), c.batch, c.records...)
		if got := unpack(t, out.Name, b); got != c.want {
			t.Errorf("%q with %q: %q, want %q", c.records, c.delimiter, got, c.want)
		}
	}
}

func TestPiecesOfALineAreJoinedAgain(t *testing.T) {
	piece := func(key, data string) hydrant.Record {
		return hydrant.Record{Key: []byte(key), Data: []byte(data), Partial: true}
	}
	last := func(key, data string) hydrant.Record { return hydrant.Record{Key: []byte(key), Data: []byte(data)} }
	other := hydrant.Record{Data: []byte("other")}
	for _, c := range []struct {
		say     string
		records []hydrant.Record
		want    string
	}{
		{"three pieces are one line", []hydrant.Record{piece("k", "a\n"), piece("k", "b"), last("k", "c"), other}, "a\nbc\nother\n"},
		{"a record of another source between them is a line of its own", []hydrant.Record{piece("k", "a"), other, last("k", "b")}, "a\nother\nb\n"},
		{"a batch may end within a line", []hydrant.Record{other, piece("k", "a")}, "other\na"},
	} {
		sp := &spool{}
		e, err := format(t, func(l *Layout) { l.Compression = "none" }).Encoder(someBatch, sp, "target")
		if err != nil {
			t.Fatal(err)
		}
		for i := range c.records {
			if err := e.Add(&c.records[i]); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := e.Finish(someBatch.From + hydrant.Position(len(c.records))); err != nil {
			t.Fatal(err)
		}
		if got := sp.String(); got != c.want {
			t.Errorf("%s: %q, want %q", c.say, got, c.want)
		}
	}
}

// lines are log lines that compress as such do.
func lines(n int) []string {
	r := rand.New(rand.NewPCG(1, 2))
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf(`{"ts":"2026-11-23T12:%02d:%02d.%03dZ","level":"info","request":"%016x","path":"/api/v1/items/%d","status":%d,"took_ms":%d}`,
			i/60%60, i%60, r.IntN(1000), r.Uint64(), r.IntN(5000), 200+r.IntN(4)*100, r.IntN(300))
	}
	return out
}

func TestEveryLevelGivesTheBytesBackAndTheSameBytesAgain(t *testing.T) {
	records := lines(3000)
	want := strings.Join(records, "\n") + "\n"
	for _, compression := range []string{"gzip", "zstd"} {
		for _, level := range []int{0, 1, 2, 3, 5, 6, 9} {
			f := format(t, func(l *Layout) { l.Compression, l.Level = compression, level })
			out, first := encode(t, f, someBatch, records...)
			if got := unpack(t, out.Name, first); got != want {
				t.Errorf("%s %d: %d bytes come back of %d", compression, level, len(got), len(want))
			}
			encode(t, f, someBatch, "something in between") // with the same stream, if the pool still has it
			if _, second := encode(t, f, someBatch, records...); !bytes.Equal(first, second) {
				t.Errorf("%s %d: the second time there are other bytes", compression, level)
			}
		}
	}
}

func TestAnEmptyObjectOpensWithItsCodec(t *testing.T) {
	for _, name := range []string{"x", "x.gz", "x.zst", "x.json.gz"} {
		b := Empty(name)
		if got := unpack(t, name, b); got != "" {
			t.Errorf("%s: %q", name, got)
		}
		if (len(b) == 0) != (name == "x") {
			t.Errorf("%s: %d bytes", name, len(b))
		}
	}
}

func TestABatchWithoutRecordsHasNoObject(t *testing.T) {
	sp := &spool{}
	e, err := format(t, func(*Layout) {}).Encoder(someBatch, sp, "target")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := e.Finish(2000); err != nil || len(out) != 0 || sp.closed != 1 {
		t.Errorf("%v %v, closed %d times", out, err, sp.closed)
	}
}

func TestAFullSpoolIsReportedAndTheStreamIsUsableAgain(t *testing.T) {
	full := errors.New("full")
	f := format(t, func(l *Layout) { l.Compression = "none" })
	sp := &spool{full: full}
	e, err := f.Encoder(someBatch, sp, "target")
	if err != nil {
		t.Fatal(err)
	}
	err = e.Add(&hydrant.Record{Data: make([]byte, 2*bufferSize)})
	if !errors.Is(err, full) {
		t.Errorf("add: %v", err)
	}
	e.Abort()
	if sp.closed != 1 {
		t.Errorf("closed %d times", sp.closed)
	}
	out, b := encode(t, f, someBatch, "x")
	if got := unpack(t, out.Name, b); got != "x\n" {
		t.Errorf("%q", got)
	}
}

func TestErrorOutputTypeIsForErrorOutputs(t *testing.T) {
	f := format(t, func(l *Layout) { l.Prefix = "!{firehose:error-output-type}/" })
	_, err := f.Encoder(someBatch, &spool{}, "target")
	if _, ok := errors.AsType[*sinks.OperatorError](err); !ok {
		t.Errorf("%v is not the operator's", err)
	}
}

func TestBadLayoutsDoNotOpen(t *testing.T) {
	for name, change := range map[string]func(*Layout){
		"prefix":      func(l *Layout) { l.Prefix = "!{" },
		"zone":        func(l *Layout) { l.TimeZone = "Nowhere/City" },
		"local":       func(l *Layout) { l.TimeZone = "Local" },
		"compression": func(l *Layout) { l.Compression = "snappy" },
		"gzip level":  func(l *Layout) { l.Level = 10 },
		"zstd level":  func(l *Layout) { l.Compression, l.Level = "zstd", 10 },
	} {
		l := Defaults()
		change(&l)
		if _, err := New(l, zeros{}, false); err == nil {
			t.Errorf("%s: opens", name)
		}
	}
}

// BenchmarkEncode is the encoder beside the bare codec in the same run: compare the MB/s.
func BenchmarkEncode(b *testing.B) {
	records := lines(20000)
	size := int64(0)
	var data [][]byte
	for _, r := range records {
		data = append(data, []byte(r))
		size += int64(len(r)) + 1
	}
	b.Run("bare gzip 6", func(b *testing.B) {
		b.SetBytes(size)
		z, _ := gzip.NewWriterLevel(io.Discard, 6)
		newline := []byte("\n")
		for b.Loop() {
			z.Reset(io.Discard)
			for _, d := range data {
				_, _ = z.Write(d)
				_, _ = z.Write(newline)
			}
			_ = z.Close()
		}
	})
	for _, compression := range []string{"gzip", "zstd", "none"} {
		f := format(b, func(l *Layout) { l.Compression = compression })
		b.Run("encoder "+compression, func(b *testing.B) {
			b.SetBytes(size)
			packed := int64(0)
			for b.Loop() {
				e, err := f.Encoder(someBatch, discard{}, "target")
				if err != nil {
					b.Fatal(err)
				}
				var r hydrant.Record
				for _, d := range data {
					r.Data = d
					_ = e.Add(&r)
				}
				if _, err := e.Finish(30000); err != nil {
					b.Fatal(err)
				}
				packed = e.Size()
			}
			b.ReportMetric(float64(size)/float64(packed), "ratio")
		})
	}
}

type discard struct{}

func (discard) Create(string) (io.WriteCloser, error) { return discard{}, nil }
func (discard) Write(b []byte) (int, error)           { return len(b), nil }
func (discard) Close() error                          { return nil }
