package delivery

import (
	"time"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
)

// Status is what hydrant status shows of a delivery. Appended = Delivered + Refused + Dropped + Damaged + Pending; none
// of them is computed from the others (I13).
type Status struct {
	Ledger
	Appended      buffer.Totals    // since the delivery was made; counted by the log
	Pending       buffer.Totals    // counted by the log
	Committed     hydrant.Position // everything before it is settled
	Ready         int              // batches that are spooled and not yet Done
	OldestPending time.Duration    // age of the oldest pending record; 0 when there is none
	LastDelivery  time.Time        // of this process; zero = none yet
	LastError     *LastError       // nil = none in this process
}

// Ledger is what has become of the records that are settled.
type Ledger struct{ Delivered, Refused, Dropped, Damaged buffer.Totals }

// LastError is the trouble that a delivery is in, or was in last.
type LastError struct {
	Text     string
	Remedy   string    // what the operator can do; "" when it may pass by itself
	Operator bool      // only the operator can mend it
	Since    time.Time // of the first failed attempt
	Until    time.Time // zero while it lasts
	Attempts int       // failed ones, of all batches
}

// Status says how the delivery stands. It reads the heads of the blocks that are pending.
func (d *Delivery) Status() (Status, error) { return Status{}, nil }

// ReadStatus is Status for a delivery that is not running: from what its journal and its log hold. It writes nothing.
func ReadStatus(committed hydrant.Position, entries []buffer.Entry, log buffer.State, r buffer.Reader) (Status, error) {
	return Status{}, nil
}
