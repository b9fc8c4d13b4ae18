package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/transform"
)

// class is what a record says of itself: what the function and the test target make of it.
type class string

const (
	plain   class = "plain"
	dropped class = "dropped" // the function drops it
	changed class = "changed" // the function gives it other bytes
	split   class = "split"   // the function makes two of it
	refused class = "refused" // the function refuses it
	odd     class = "odd"     // the test target refuses it when it is sent
	unfit   class = "unfit"   // the test target refuses it when it is encoded
)

var classes = []class{plain, plain, plain, plain, plain, plain, dropped, changed, split, refused, odd, unfit}

// record is one that a producer made, and what is known of it.
type record struct {
	id    string
	class class
	size  int
	said  saying
	by    string // the process that it was given to

	// Of an acknowledged one:
	log hydrant.LogID
	run hydrant.RunID
	pos hydrant.Position

	tail bool // it was perhaps in the last block when bits flipped
}

// saying is what the producer was told.
type saying int

const (
	nothing      saying = iota // the daemon died, or did not know: it is there at most once
	acknowledged               // it is there
	rejected                   // it is not
)

// text is the record's bytes: it can be found in anything, whatever stands around it.
func (r *record) text() []byte {
	s := fmt.Sprintf("<%s %s ", r.id, r.class)
	return append(append([]byte(s), bytes.Repeat([]byte("x"), max(0, r.size-len(s)-1))...), '>')
}

func classOf(data []byte) class {
	if fields := strings.SplitN(string(data), " ", 3); len(fields) == 3 {
		return class(fields[1])
	}
	return ""
}

// scan finds the records in b: their ids and, for the parts of a split one, which part.
func scan(b []byte) (ids, parts []string, err error) {
	for len(b) > 0 {
		from := bytes.IndexByte(b, '<')
		if from < 0 {
			break
		}
		to := bytes.IndexByte(b[from:], '>')
		if to < 0 {
			return nil, nil, fmt.Errorf("a record without an end after %d others", len(ids))
		}
		fields := strings.SplitN(string(b[from+1:from+to]), " ", 4)
		if len(fields) < 3 {
			return nil, nil, fmt.Errorf("a record of %d fields after %d others", len(fields), len(ids))
		}
		part := ""
		if strings.HasPrefix(fields[2], "part") {
			part = fields[2]
		}
		ids, parts = append(ids, fields[0]), append(parts, part)
		b = b[from+to+1:]
	}
	return ids, parts, nil
}

// function is the transformer of the tests: what it does follows from the record alone.
type function struct{ w *World }

// Transform implements transform.Transformer.
func (f function) Transform(ctx context.Context, in, out *hydrant.Batch, v []transform.Verdict) error {
	if f.w.chance(5_000) {
		return errors.New("the guest is not there")
	}
	for i := range in.Len() {
		r := *in.At(i)
		head, rest, _ := bytes.Cut(r.Data, []byte("x"))
		switch classOf(r.Data) {
		case dropped:
			v[i].Kind = transform.Dropped
		case refused:
			v[i] = transform.Verdict{Kind: transform.Refused, Code: "No", Reason: "it says so"}
		case changed:
			v[i].Kind = transform.Changed
			r.Data = append(append(bytes.Clone(head), "changed "...), rest...)
			out.Append(r)
		case split:
			v[i] = transform.Verdict{Kind: transform.Split, Parts: 2}
			for _, part := range []string{"part1 ", "part2 "} {
				s := r
				s.Data = append(append(bytes.Clone(head), part...), rest...)
				out.Append(s)
			}
		default:
			v[i].Kind = transform.Unchanged
		}
	}
	return nil
}
