package delivery

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hydrantd/hydrant/sinks"
)

var errRefused = errors.New("connection refused")

func TestTransientFailuresPass(t *testing.T) {
	inRig(t, nil, func(r *rig) {
		r.target.before = func(n int, _ *sinks.Shipment) error {
			if n <= 7 {
				return errRefused
			}
			return nil
		}
		want := numbered(10, 100)
		r.append(want...)
		r.start()
		r.pass(10 * time.Minute)
		r.target.holds(t, want)
		if len(r.target.ships) != 8 {
			t.Errorf("%d attempts, want 8", len(r.target.ships))
		}
		for i, s := range r.target.ships {
			if s.attempt != i+1 || s.resent != (i > 0) {
				t.Errorf("attempt %d is told to be %d, resent %v", i+1, s.attempt, s.resent)
			}
		}
		e := r.status().LastError
		if e == nil || e.Text != "connection refused" || e.Operator || e.Attempts != 7 || e.Until.IsZero() {
			t.Errorf("last error: %+v", e)
		}
		r.kill()
	})
}

func TestWhatWasCertainlyNotSentIsNotAResend(t *testing.T) {
	inRig(t, nil, func(r *rig) {
		r.target.before = func(n int, _ *sinks.Shipment) error {
			switch n {
			case 1, 2:
				return sinks.Unsent(errRefused)
			case 3:
				return errors.New("reset by peer")
			}
			return nil
		}
		r.append(numbered(10, 100)...)
		r.start()
		r.pass(10 * time.Minute)
		var got []bool
		for _, s := range r.target.ships {
			got = append(got, s.resent)
		}
		if fmt.Sprint(got) != "[false false false true]" {
			t.Errorf("resent: %v", got)
		}
		r.kill()
	})
}

func TestAnHourOfOutageIsAFewLines(t *testing.T) {
	tests := []struct {
		name    string
		fail    func(n int) error
		atLeast int // lines
		giveUp  time.Duration
	}{
		{"down all the time", func(int) error { return errRefused }, 1, 0},
		{"the operator's all the time", func(int) error { return sinks.Operator(errors.New("403"), "grant s3:PutObject") }, 1, 0},
		{"every error different", func(n int) error { return fmt.Errorf("request %d: 503", n) }, 1, 0},
		{"flapping at every batch", func(n int) error {
			if n%2 == 0 {
				return nil
			}
			return errRefused
		}, 2, 0},
		{"given up, batch for batch", func(int) error { return sinks.Unsent(errRefused) }, 2, 2 * time.Second},
		{"given up and back, batch for batch", func(n int) error {
			if n%9 == 0 {
				return nil
			}
			return sinks.Unsent(errRefused)
		}, 4, 2 * time.Second},
		{"flapping between the classes", func(n int) error {
			switch n % 3 {
			case 0:
				return nil
			case 1:
				return sinks.Operator(fmt.Errorf("%d", n), "do this")
			}
			return errRefused
		}, 2, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inRig(t, func(o *Options) { o.Concurrency, o.GiveUpAfter = 4, tt.giveUp }, func(r *rig) {
				r.target.before = func(n int, _ *sinks.Shipment) error { return tt.fail(n) }
				r.start()
				for range 360 {
					r.append(numbered(10, 100)...)
					r.pass(10 * time.Second)
				}
				r.kill()
				if n := len(r.lines.all); n > 50 || n < tt.atLeast {
					t.Errorf("%d lines, want %d to 50: %.1000s", n, tt.atLeast, strings.Join(r.lines.all, ""))
				}
				if n := r.target.attempts(); n < 100 {
					t.Errorf("%d attempts in an hour: it gave up trying", n)
				}
			})
		})
	}
}

func TestTheOperatorIsToldOnceAndOnceWhenItIsBack(t *testing.T) {
	inRig(t, func(o *Options) { o.Concurrency = 3; o.GiveUpAfter = time.Minute }, func(r *rig) {
		var down atomic.Bool
		down.Store(true)
		r.target.before = func(int, *sinks.Shipment) error {
			if down.Load() {
				return sinks.Operator(errors.New("AccessDenied"), "grant s3:PutObject on bucket logs")
			}
			return nil
		}
		want := numbered(50, 100)
		r.append(want...)
		r.start()
		r.pass(time.Hour)
		if e := r.status().LastError; !e.Operator || e.Remedy != "grant s3:PutObject on bucket logs" || !e.Until.IsZero() || e.Attempts < 100 {
			t.Errorf("last error while it lasts: %+v", e)
		}
		down.Store(false)
		r.pass(5 * time.Minute)
		r.target.holds(t, want) // give_up_after does not divert what the operator can mend
		r.kill()
		if n := r.lines.with("delivery holds"); n != 1 {
			t.Errorf("the operator is told %d times, want once", n)
		}
		if n := r.lines.with(`remedy="grant s3:PutObject on bucket logs"`); n != 1 {
			t.Errorf("the remedy is said %d times, want once", n)
		}
		if n := r.lines.with("delivery is back"); n != 1 || r.lines.with("after=1h") != 1 {
			t.Errorf("it is back %d times, want once, after an hour: %v", n, r.lines.all)
		}
	})
}

func TestABatchIsGivenUpOnlyWhenTheTargetIsKnownNotToHaveIt(t *testing.T) {
	lost := func(t *target, s *sinks.Shipment) error { return nil }
	tests := []struct {
		name       string
		before     func(n int, s *sinks.Shipment) error
		after      func(n int, s *sinks.Shipment) error
		resolve    func(t *target, s *sinks.Shipment) error
		delivered  int64
		refused    int64
		pending    int64
		unresolved bool // Resolve is not to be called
	}{
		{
			name:    "it is not there: diverted",
			before:  func(int, *sinks.Shipment) error { return errRefused },
			resolve: lost, refused: 10,
		},
		{
			name:      "it is there, the answers were lost: delivered",
			after:     func(int, *sinks.Shipment) error { return errors.New("reset") },
			delivered: 10,
			resolve:   func(t *target, s *sinks.Shipment) error { s.Delivered(0, 0); return nil },
		},
		{
			name:   "half of it is there",
			before: func(int, *sinks.Shipment) error { return errRefused },
			resolve: func(t *target, s *sinks.Shipment) error {
				for p := s.From; p < s.From+5; p++ {
					s.Delivered(p, 0)
				}
				return nil
			},
			delivered: 5, refused: 5,
		},
		{
			name:    "it cannot be asked: held",
			before:  func(int, *sinks.Shipment) error { return errRefused },
			resolve: func(t *target, s *sinks.Shipment) error { return errRefused },
			pending: 10,
		},
		{
			name:   "it answers after a while",
			before: func(int, *sinks.Shipment) error { return errRefused },
			resolve: func(t *target, s *sinks.Shipment) error {
				if t.resolves < 4 {
					return errRefused
				}
				return nil
			},
			refused: 10,
		},
		{
			name:       "nothing was ever sent: diverted without asking",
			before:     func(int, *sinks.Shipment) error { return sinks.Unsent(errRefused) },
			resolve:    func(t *target, s *sinks.Shipment) error { return errRefused },
			unresolved: true, refused: 10,
		},
		{
			name: "nothing was ever sent, but the sink has left something: it is told to clear it away",
			before: func(_ int, s *sinks.Shipment) error {
				return errors.Join(s.Save([]byte("an upload")), sinks.Unsent(errRefused))
			},
			resolve: func(t *target, s *sinks.Shipment) error {
				if string(s.Saved) != "an upload" {
					return fmt.Errorf("the note is %q", s.Saved)
				}
				return nil
			},
			refused: 10,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inRig(t, func(o *Options) { o.GiveUpAfter = 10 * time.Minute }, func(r *rig) {
				r.target.before, r.target.after, r.target.resolve = tt.before, tt.after, tt.resolve
				want := numbered(10, 100)
				r.append(want...)
				r.start()
				r.pass(9 * time.Minute)
				if s := r.status(); s.Pending.Records != 10 || r.target.asked() > 0 {
					t.Errorf("before its time: pending %d, asked %d times", s.Pending.Records, r.target.asked())
				}
				r.pass(20 * time.Minute)
				r.addsUp(Status{Appended: records(10), Pending: records(tt.pending), Ledger: Ledger{Delivered: records(tt.delivered), Refused: records(tt.refused)}})
				lines := r.errs.errorLines(t)
				if int64(len(lines)) != tt.refused {
					t.Errorf("%d error records, want %d", len(lines), tt.refused)
				}
				for i, e := range lines {
					if raw := want[10-int(tt.refused)+i]; e.ErrorCode != "DeliveryTimeout" || e.Stage != "delivery" || e.RawData != raw || e.AttemptsMade < 10 ||
						!strings.Contains(e.ErrorMessage, "connection refused") {
						t.Errorf("error record %+v, want raw data %s", e, raw)
					}
				}
				if (r.target.asked() == 0) != tt.unresolved {
					t.Errorf("asked %d times", r.target.asked())
				}
				r.kill()
			})
		})
	}
}

// Giving up is not success: the trouble with the target ends only when the target has something.
func TestATargetThatIsGivenUpIsNotBack(t *testing.T) {
	unsent := func(int, *sinks.Shipment) error { return sinks.Unsent(errRefused) }
	tests := []struct {
		name    string
		revive  func(r *rig)
		refused int64
	}{
		{"until it takes a batch", func(r *rig) { r.target.fail(nil) }, 30},
		{"until it is found to have one", func(r *rig) {
			r.target.resolve = func(_ *target, s *sinks.Shipment) error { s.Delivered(0, 0); return nil }
			r.target.fail(func(int, *sinks.Shipment) error { return errRefused })
		}, 30},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inRig(t, func(o *Options) { o.GiveUpAfter = 2 * time.Second }, func(r *rig) {
				r.target.fail(unsent)
				r.errs.before = func(n int, _ *sinks.Shipment) error {
					if n == 2 { // a trouble of another kind, that passes
						return sinks.Operator(errors.New("no space left on device"), "free space under errors")
					}
					return nil
				}
				r.start()
				for range 3 {
					r.append(numbered(10, 100)...)
					r.pass(time.Minute)
					if e := r.status().LastError; e == nil || !e.Until.IsZero() || e.Text != "connection refused" || e.Operator || e.Remedy != "" {
						t.Errorf("while nothing has been delivered: %+v", e)
					}
				}
				if n := r.lines.with("delivery is back"); n != 0 {
					t.Errorf("it is said to be back, and nothing was delivered: %v", r.lines.all)
				}
				if n := r.lines.with(`level=WARN msg="records go to the error output"`); n != 1 || r.lines.with(`span=1-11 records=10 err="connection refused"`) != 1 {
					t.Errorf("that records are diverted is said %d times, want once: %v", n, r.lines.all)
				}
				tt.revive(r)
				r.append(numbered(10, 100)...)
				r.pass(time.Minute)
				if e := r.status().LastError; e == nil || e.Until.IsZero() {
					t.Errorf("after a delivery: %+v", e)
				}
				if n := r.lines.with("delivery is back"); n != 1 || r.lines.with("diverted=30") != 1 {
					t.Errorf("it is back %d times, want once: %v", n, r.lines.all)
				}
				r.addsUp(Status{Appended: records(40), Ledger: Ledger{Delivered: records(10), Refused: records(tt.refused)}})

				// The next outage is another one.
				r.target.fail(unsent)
				r.append(numbered(10, 100)...)
				r.pass(time.Minute)
				if n := r.lines.with("records go to the error output"); n != 2 {
					t.Errorf("after two outages it is said %d times that records are diverted", n)
				}
				r.kill()
			})
		})
	}
}

func TestTheDeliveryHoldsWhileTheErrorOutputCannotBeWritten(t *testing.T) {
	inRig(t, nil, func(r *rig) {
		var down atomic.Bool
		down.Store(true)
		r.errs.before = func(int, *sinks.Shipment) error {
			if down.Load() {
				return sinks.Operator(errors.New("no space left on device"), "free space under errors")
			}
			return nil
		}
		r.target.refuse = func(data string) *sinks.Refusal {
			if strings.HasPrefix(data, "bad") {
				return &sinks.Refusal{Code: "Mapping", Message: "no such field"}
			}
			return nil
		}
		r.append("good", "bad")
		r.start()
		r.pass(time.Minute)
		r.append("later")
		r.pass(time.Hour)
		r.target.holds(t, []string{"good"})
		if s := r.status(); s.Pending.Records != 3 || s.LastError == nil || !s.LastError.Operator {
			t.Errorf("while the error output is away: %+v %+v", s, s.LastError)
		}
		down.Store(false)
		r.pass(5 * time.Minute)
		r.target.holds(t, []string{"good", "later"})
		r.addsUp(Status{Appended: records(3), Ledger: Ledger{Delivered: records(2), Refused: records(1)}})
		r.kill()
	})
}

func TestADrainTriesOnSoonerThanTheBackoff(t *testing.T) {
	inRig(t, nil, func(r *rig) {
		var down atomic.Bool
		down.Store(true)
		r.target.before = func(int, *sinks.Shipment) error {
			if down.Load() {
				return errRefused
			}
			return nil
		}
		r.append(numbered(10, 100)...)
		r.start()
		r.pass(time.Hour)
		close(r.drain)
		r.pass(time.Second)
		down.Store(false)
		at := time.Now()
		if err := <-r.done; err != nil {
			t.Fatal(err)
		}
		if took := time.Since(at); took > backoffDraining {
			t.Errorf("the drain took %v after the target was back", took)
		}
		synctest.Wait()
		r.cancel()
	})
}
