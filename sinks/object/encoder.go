package object

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/sinks"
)

// Format is a Layout made ready for work. It is safe for concurrent use.
type Format struct {
	prefix    prefix
	zone      *time.Location
	codec     codec
	delimiter []byte
	declare   bool
	random    io.Reader
}

// New makes a Format of l. random is where random strings come from; declare sets Output.Encoding.
func New(l Layout, random io.Reader, declare bool) (*Format, error) {
	p, err := parsePrefix(l.Prefix)
	if err != nil {
		return nil, fmt.Errorf("prefix: %w", err)
	}
	at, err := zone(l.TimeZone)
	if err != nil {
		return nil, fmt.Errorf("time_zone: %w", err)
	}
	c, err := newCodec(l.Compression, l.Level)
	if err != nil {
		return nil, fmt.Errorf("compression %s, level %d: %w", l.Compression, l.Level, err)
	}
	return &Format{p, at, c, []byte(l.Delimiter), declare, random}, nil
}

// Empty is an object of the name given that holds no record: nothing, or what the codec makes of nothing.
func Empty(name string) []byte {
	for _, compression := range []string{"gzip", "zstd"} {
		if c, err := newCodec(compression, 0); err == nil && strings.HasSuffix(name, c.ext) {
			return c.empty()
		}
	}
	return nil
}

// spoolFile is the name of a batch's one file in the spool.
const spoolFile = "object"

// Encoder starts the one object of a batch, bound for target (see sinks.Output).
func (f *Format) Encoder(b sinks.Batch, sp sinks.Spool, target string) (sinks.Encoder, error) {
	if b.Suffix == "" && f.prefix.errorType {
		return nil, sinks.Operator(errors.New("the prefix must not contain !{firehose:error-output-type}"),
			"take it out of the prefix of destination "+b.Destination+": it is for error outputs")
	}
	file, err := sp.Create(spoolFile)
	if err != nil {
		return nil, err
	}
	e := &encoder{format: f, batch: b, target: target, delimiter: f.delimiter, stream: f.codec.open(file)}
	if b.Suffix != "" {
		e.delimiter = []byte("\n") // error records are one a line, whatever is between records
	}
	return e, nil
}

// encoder writes the one object of a batch. It implements sinks.Encoder.
type encoder struct {
	format    *Format
	batch     sinks.Batch
	target    string
	delimiter []byte
	stream    *stream // nil when it is finished or aborted
	records   int64
	size      int64 // when it is finished

	// The record before was a piece of a line that goes on in the next record with this key.
	open bool
	key  []byte
}

// Add implements sinks.Encoder.
func (e *encoder) Add(r *hydrant.Record) error {
	if e.open && !bytes.Equal(e.key, r.Key) { // something of another source came between
		if err := e.delimit(); err != nil {
			return err
		}
	}
	if _, err := e.stream.Write(r.Data); err != nil {
		return err
	}
	e.records++
	e.open = r.Partial
	if e.open {
		e.key = append(e.key[:0], r.Key...)
		return nil
	}
	if bytes.HasSuffix(r.Data, e.delimiter) {
		return nil
	}
	return e.delimit()
}

func (e *encoder) delimit() error {
	if len(e.delimiter) == 0 {
		return nil
	}
	_, err := e.stream.Write(e.delimiter)
	return err
}

// Size implements sinks.Encoder.
func (e *encoder) Size() int64 {
	if e.stream == nil {
		return e.size
	}
	return e.stream.written + int64(e.stream.buffer.Buffered())
}

// Finish implements sinks.Encoder. A batch without records has no object.
func (e *encoder) Finish(to hydrant.Position) ([]sinks.Output, error) {
	err := e.stream.end()
	if err = errors.Join(err, e.close()); err != nil || e.records == 0 {
		return nil, err
	}
	name, err := e.name(to)
	if err != nil {
		return nil, err
	}
	out := sinks.Output{File: spoolFile, Target: e.target, Name: name}
	if e.format.declare {
		out.Encoding = e.format.codec.encoding
	}
	return []sinks.Output{out}, nil
}

// Abort implements sinks.Encoder.
func (e *encoder) Abort() {
	if e.stream != nil {
		_ = e.close() // the file is thrown away
	}
}

func (e *encoder) close() error {
	e.size = e.Size()
	err := e.format.codec.release(e.stream)
	e.stream = nil
	return err
}

// name is the object's, prefix included. Log, run and both ends are in it (I9), so that no two batches of any daemon
// share one; only its time and its random string depend on more than the batch's place in the log.
func (e *encoder) name(to hydrant.Position) (string, error) {
	b := e.batch
	at := instant{time: time.UnixMilli(b.Time).In(e.format.zone).Truncate(time.Second), kind: strings.TrimPrefix(b.Suffix, "-"), random: e.format.random}
	prefix, _, err := e.format.prefix.evaluate(at)
	if err != nil {
		return "", err
	}
	parts := []string{prefix + b.Pipeline, b.Destination, at.time.Format("2006-01-02-15-04-05")}
	if !hydrant.Sabotaged(hydrant.RuleNameLog) {
		parts = append(parts, b.Log.String())
	}
	if !hydrant.Sabotaged(hydrant.RuleNameRun) {
		parts = append(parts, b.Run.String())
	}
	parts = append(parts, fmt.Sprintf("%016d", b.From), fmt.Sprintf("%016d", to))
	name := strings.Join(parts, "-") + b.Suffix
	if b.Suffix != "" {
		name += ".json"
	}
	if name += e.format.codec.ext; len(name) > maxKey {
		return "", sinks.Operator(fmt.Errorf("%s: an object name of %d bytes, at most %d", name, len(name), maxKey), "shorten the prefix")
	}
	return name, nil
}
