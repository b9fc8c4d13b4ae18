// Package transform is the contract of functions: what stands where Firehose calls Lambda.
package transform

import (
	"context"

	"github.com/hydrantd/hydrant"
)

// Transformer turns a chunk of records into verdicts and, for those changed, new data.
// A chunk is consecutive records of one run, up to 1 MiB or one larger record, cut by log positions alone.
type Transformer interface {
	// Transform judges in: v[i] is the verdict on in.At(i), len(v) == in.Len(). For Changed it appends to out one
	// record, for Split any number, in the order of in; out's Pos are set from in by the caller of Transform. An
	// error means that nothing is known: the chunk is tried again, no record is judged.
	Transform(ctx context.Context, in, out *hydrant.Batch, v []Verdict) error
}

// Verdict is what a function says of one record. The zero Verdict is a failure: forgetting repeats work, it never
// loses a record.
type Verdict struct {
	Kind   Kind
	Parts  int    // for Split: how many records of out are this one's
	Code   string // for Refused: errorCode of the error record
	Reason string // for Refused: errorMessage
}

// Kind of a verdict.
type Kind uint8

// The kinds, numbered as in the function contract.
const (
	Failed Kind = iota
	Unchanged
	Changed
	Dropped
	Refused
	Split
)
