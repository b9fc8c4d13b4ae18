// Package logtest is the suite that every Log passes.
package logtest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
)

// Open opens one log, which is new the first time, and the same one each time after it was closed.
type Open func() (buffer.Log, error)

// New makes the Open of a new log with four shards. What it needs to clean up it hangs on t.
type New func(t testing.TB) Open

// Run holds a Log to its contract.
func Run(t *testing.T, fresh New) {
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			if err := c.run(fresh(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

// Failures says which parts of the contract a Log breaks, by name: for Logs that are broken on purpose.
func Failures(t testing.TB, fresh New) map[string]error {
	failed := map[string]error{}
	for _, c := range checks {
		if err := c.run(fresh(t)); err != nil {
			failed[c.name] = err
		}
	}
	return failed
}

var checks = []struct {
	name string
	run  func(open Open) error
}{
	{"records come back as they went in", comeBack},
	{"positions are dense and receipts tell them", positions},
	{"records of a shard keep their order", order},
	{"an empty read says that there is nothing yet", nothingYet},
	{"a read ends at its limit", limits},
	{"a read holds no more than it must", hints},
	{"a write with notes alone has no position", notesOnly},
	{"what is refused leaves nothing", refused},
	{"concurrent appends are there once each", concurrent},
	{"a closed log is read and not written", closed},
	{"another opening has another run, and keeps what was there", runs},
	{"one shard is what all shards have of it", oneShard},
	{"measure finds where a batch ends", measure},
	{"count agrees with what is read", count},
	{"wait ends with a record, the deadline or the context", wait},
	{"a cursor starts where it is told", starts},
	{"a cursor remembers what it wrote", remembers},
	{"a cursor has one holder", oneHolder},
	{"what no cursor has passed is kept", kept},
}

// with opens the log, runs f, and closes it.
func with(open Open, f func(l buffer.Log) error) error {
	l, err := open()
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	return errors.Join(f(l), l.Close())
}

// put appends records and returns where they lie.
func put(l buffer.Log, records ...hydrant.Record) (buffer.Receipt, error) {
	var b hydrant.Batch
	for _, r := range records {
		b.Append(r)
	}
	return l.Append(context.Background(), &buffer.Write{Batch: &b})
}

func text(format string, args ...any) hydrant.Record {
	return hydrant.Record{Data: fmt.Appendf(nil, format, args...)}
}

func keyed(key, format string, args ...any) hydrant.Record {
	r := text(format, args...)
	r.Key = []byte(key)
	return r
}

// got is a record that was read, on its own.
type got struct {
	hydrant.Record
	run hydrant.RunID
	log hydrant.LogID
}

// read reads everything from a position on.
func read(l buffer.Log, from hydrant.Position, f buffer.Filter) ([]got, error) {
	r := l.Reader(f)
	var all []got
	var b hydrant.Batch
	for pos := from; ; {
		b.Reset()
		next, err := r.Read(pos, 0, &b)
		if err != nil {
			return all, fmt.Errorf("read from %d: %w", pos, err)
		}
		for i := range b.Len() {
			rec := *b.At(i)
			if rec.Pos < pos || rec.Pos >= next {
				return all, fmt.Errorf("a read of %d-%d gave position %d", pos, next, rec.Pos)
			}
			if rec.Key != nil {
				rec.Key = append([]byte{}, rec.Key...)
			}
			rec.Data = append([]byte{}, rec.Data...)
			all = append(all, got{rec, b.Run, b.Log})
		}
		if next == pos {
			return all, nil
		}
		pos = next
	}
}

// same compares the data of what was read with what is wanted, in order.
func same(all []got, want ...string) error {
	if len(all) != len(want) {
		return fmt.Errorf("%d records are there, want %d", len(all), len(want))
	}
	for i := range want {
		if string(all[i].Data) != want[i] {
			return fmt.Errorf("record %d is %.40q, want %.40q", i, all[i].Data, want[i])
		}
	}
	return nil
}
