// Package sinks is the contract of destinations. A sink knows only its protocol: batching, spooling, retries, the
// error output and the counts are the delivery's.
package sinks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/hydrantd/hydrant"
)

// Sink writes batches to one destination. All methods are safe for concurrent use.
//
// The one duty: shipping the same Shipment twice is harmless (ARCHITECTURE.md, I10). Its bytes and names never change
// once they are Ready.
type Sink interface {
	// Encoder starts the files of one batch. Called when the batch's first record has arrived.
	Encoder(b Batch, sp Spool) (Encoder, error)
	// Ship makes one attempt to bring s to the target. Nil covers every record that was not refused by s.Refuse. Errors are
	// transient unless they are Operator's; see also Unsent. ctx bounds the attempt.
	Ship(ctx context.Context, s *Shipment) error
	// Resolve says, before a batch is diverted, whether the target has it: all of it is there, or is not and can never
	// come to be there by an attempt still under way. Records that are there are marked by s.Delivered. An error: not known.
	Resolve(ctx context.Context, s *Shipment) error
	Close() error
}

// Encoder turns records into the bytes that are sent. It is for one goroutine.
type Encoder interface {
	// Add encodes one record and keeps nothing of it. A *Refusal: this record cannot be encoded, for good.
	Add(r *hydrant.Record) error
	// Size is what lies in the spool so far, in bytes; buffers included.
	Size() int64
	// Finish ends the files and names them. to is the end of the batch's span.
	Finish(to hydrant.Position) ([]Output, error)
	// Abort ends the files without a name and gives back what the encoder holds. After Finish it does nothing.
	Abort()
}

// Batch says what an encoder is for: enough to name the outputs.
type Batch struct {
	Pipeline, Destination string
	Log                   hydrant.LogID
	Run                   hydrant.RunID
	From                  hydrant.Position
	Time                  int64  // arrival of the first record, Unix ms
	Suffix                string // "" for records; "-delivery-failed" and the like for error records
}

// Spool is where an encoder writes: files of one batch, on hydrant's own disk.
type Spool interface {
	// Create makes a new file of the batch. The caller closes it; the delivery syncs it.
	Create(name string) (io.WriteCloser, error)
}

// Output is one file of a batch and the name it has in the target. It is frozen in the journal (Ready).
type Output struct {
	File     string // in the spool
	Target   string // bucket, folder: where the name counts
	Name     string // object key, file name, …
	Encoding string // Content-Encoding to declare; usually none
	Size     int64  // bytes; set by the delivery from the file
	CRC      uint32 // CRC32C of the bytes; set by the delivery from the file
}

// Shipment is a Ready batch on its way.
type Shipment struct {
	Batch
	To      hydrant.Position
	Number  uint64 // of the batch in its delivery
	Outputs []Output
	Attempt int    // from 1, in this process
	Resent  bool   // an earlier attempt may have reached the target: of this process or of one that crashed
	Saved   []byte // the last note that Save wrote for this batch; nil if none

	Open func(o Output) (Content, error)                                          // the spooled file; the caller closes it
	Save func(note []byte) error                                                  // remembers a note of the sink's own, durably
	mark func(pos hydrant.Position, sub uint32, refusal *Refusal, delivered bool) // set by the delivery
}

// Content is a spooled file.
type Content interface {
	io.ReaderAt
	io.Closer
}

// NewShipment is for the delivery (and tests): mark learns what the sink says of records; pos 0 means all.
func NewShipment(b Batch, mark func(pos hydrant.Position, sub uint32, refusal *Refusal, delivered bool)) *Shipment {
	return &Shipment{Batch: b, mark: mark}
}

// Refuse marks a record as refused by the target for good: it goes to the error output, whole.
func (s *Shipment) Refuse(pos hydrant.Position, sub uint32, why Refusal) {
	s.mark(pos, sub, &why, false)
}

// Delivered marks a record that Resolve found in the target; pos 0 marks the whole batch.
func (s *Shipment) Delivered(pos hydrant.Position, sub uint32) { s.mark(pos, sub, nil, true) }

// Refusal is why a record is refused for good: errorCode and errorMessage of its error record.
type Refusal struct{ Code, Message string }

func (r *Refusal) Error() string { return r.Code + ": " + r.Message }

// OperatorError is a failure that only the operator can mend. The delivery holds, says it once with the remedy, tries on
// slowly and resumes by itself.
type OperatorError struct {
	Remedy string // one sentence: what to do
	Err    error
}

func (e *OperatorError) Error() string { return e.Err.Error() }
func (e *OperatorError) Unwrap() error { return e.Err }

// Operator makes err the operator's.
func Operator(err error, remedy string) error { return &OperatorError{remedy, err} }

// Moved adds to a remedy what else can be done with a batch that is spooled for a target, such as "bucket logs", which is
// no longer the configured one of the destination named PIPELINE/DESTINATION.
func Moved(remedy, target, destination string) string {
	return fmt.Sprintf("%s; the batch is spooled for %s, which is no longer configured: create it (or allow access to it), or stop hydrant and run "+
		"`hydrant buffer forget DATA_DIR %s`, after which the destination starts at the oldest record kept "+
		"(records already delivered and still kept come again)", remedy, target, destination)
}

type unsentError struct{ error }

func (e unsentError) Unwrap() error { return e.error }

// Unsent marks an error of an attempt that certainly changed nothing in the target and never will: refused connections,
// definite answers.
func Unsent(err error) error { return unsentError{err} }

// IsUnsent tells whether err was marked by Unsent.
func IsUnsent(err error) bool { var u unsentError; return errors.As(err, &u) }

// Deps is what a sink is opened with.
type Deps struct {
	Pipeline, Destination string
	FS                    hydrant.FS
	Clock                 hydrant.Clock
	Rand                  io.Reader // of ids and jitter; crypto/rand outside the simulation
	HTTP                  Doer      // nil = the sink makes its own client
	Log                   *slog.Logger
	Timeout               time.Duration // of one attempt, when the sink's config says none
}

// Doer is the network as HTTP sinks see it.
type Doer interface {
	Do(*http.Request) (*http.Response, error)
}

// Kind makes sinks from their section of the configuration. Define makes one.
type Kind struct {
	Config func() any // a pointer to a config struct with the defaults in it, to be decoded into
	Open   func(cfg any, d Deps) (Sink, error)
}

// Define makes a Kind of a config struct C, whose value here holds the defaults, and the function that opens it.
// Opening reads files and credentials at the most; it never sends anything.
func Define[C any](defaults C, open func(C, Deps) (Sink, error)) Kind {
	return Kind{
		Config: func() any { c := defaults; return &c },
		Open: func(cfg any, d Deps) (Sink, error) {
			c, ok := cfg.(*C)
			if !ok {
				panic(fmt.Sprintf("BUG: config is %T, want %T", cfg, c))
			}
			return open(*c, d)
		},
	}
}
