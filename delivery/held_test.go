package delivery

import (
	"strings"
	"testing"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/sinks"
)

// shorter is a log that lost what is at and behind end.
type shorter struct {
	buffer.Log
	end hydrant.Position
}

func (l shorter) State() buffer.State {
	s := l.Log.State()
	s.End = l.end
	return s
}

func TestAJournalThatKnowsMoreThanTheLogHoldsItsDelivery(t *testing.T) {
	for _, tt := range []struct {
		name string
		sent bool // the batch is done, not only Ready
	}{{"a batch that is Ready", false}, {"a batch that is done", true}} {
		t.Run(tt.name, func(t *testing.T) {
			inRig(t, nil, func(r *rig) {
				r.append("block one")
				r.append("block two")
				if !tt.sent {
					r.target.fail(func(int, *sinks.Shipment) error { return errRefused })
				}
				r.start()
				r.pass(minutes)
				r.kill()
				r.target.fail(nil)
				before := r.target.attempts()
				r.o.Log = shorter{r.log, 2}
				r.start()
				r.pass(minutes)
				_, err := r.d.Status()
				if err == nil || !strings.Contains(err.Error(), buffer.ErrBehind.Error()) {
					t.Errorf("status: %v", err)
				}
				if e := r.d.Counts().LastError; e == nil || !e.Operator || !strings.Contains(e.Remedy, "hydrant run --accept-gap app/archive") || !strings.Contains(e.Text, "app/archive") {
					t.Errorf("last error: %+v", e)
				}
				if n := r.target.attempts(); n != before {
					t.Errorf("%d attempts, want none", n-before)
				}
				close(r.drain)
				if err := <-r.done; err == nil || !strings.Contains(err.Error(), "app/archive") {
					t.Errorf("drain: %v", err)
				}
				r.cancel()
				r.o.Log = r.log
				r.drained()
				r.target.holds(t, []string{"block one", "block two"})
			})
		})
	}
}
