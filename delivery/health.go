package delivery

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/sinks"
)

// health is what a delivery says of its troubles. Edges are logged, repeats are counted: a target that is down for
// hours costs two lines, and one that flaps a few an hour.
type health struct {
	clock hydrant.Clock
	log   *slog.Logger

	mu       sync.Mutex
	active   int // troubles that last
	said     bool
	remedy   string        // that was said in this stretch of trouble
	since    time.Duration // when the stretch began
	last     *LastError
	away     string // the target's last error, while records go to the error output instead; "" = it is not given up
	diverted int64  // records that went there in this stretch
	warnings allowance
	calls    allowance // for the operator
	turns    allowance // away from the target
}

// trouble is one activity that may fail and be tried again: building, shipping or diverting one batch.
// It is for one goroutine.
type trouble struct {
	h     *health
	tries int           // failed ones so far
	first time.Duration // Mono of the first
	class class
	err   error // the last
}

// class of an error, as the sink decides it.
type class uint8

const (
	transient class = iota
	operator
)

func classOf(err error) (class, string) {
	var op *sinks.OperatorError
	if errors.As(err, &op) {
		return operator, op.Remedy
	}
	if hydrant.NoSpace(err) {
		return operator, "free space on the disk of data_dir"
	}
	return transient, ""
}

// failed counts a failed attempt; what says of what.
func (t *trouble) failed(what string, span hydrant.Span, err error) {
	now, wall := t.h.clock.Mono(), t.h.clock.Wall()
	class, remedy := classOf(err)
	t.err = err
	line := t.count(class, remedy, err, now, wall)
	switch {
	case line && class == operator:
		t.h.log.Error("delivery holds", "what", what, "span", span.String(), "remedy", remedy, "err", err)
	case line:
		t.h.log.Warn("delivery is retried", "what", what, "span", span.String(), "err", err)
	}
}

func (t *trouble) count(class class, remedy string, err error, now time.Duration, wall time.Time) (line bool) {
	h := t.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if t.tries == 0 {
		t.first = now
		h.active++
	}
	t.tries++
	t.class = class
	if h.active == 1 && t.tries == 1 && h.away == "" {
		h.since, h.said, h.remedy, h.diverted = now, false, "", 0
		h.last = &LastError{Since: wall}
	}
	h.last.Attempts++
	h.last.Text, h.last.Remedy, h.last.Operator = err.Error(), remedy, class == operator
	switch {
	case class == operator && remedy != h.remedy:
		line = h.calls.take(now)
		if line {
			h.remedy = remedy
		}
	case class == transient && !h.said:
		line = h.warnings.take(now)
	}
	h.said = h.said || line
	return line
}

// over ends the trouble, if there was one. The stretch goes on while others last, or the target is away.
func (t *trouble) over() {
	if t.tries > 0 {
		t.h.ends(t, false)
	}
}

// reached ends the trouble, if there was one, and with it the target's being away: the target has answered for a batch.
func (t *trouble) reached() { t.h.ends(t, true) }

func (h *health) ends(t *trouble, reached bool) {
	now, wall := h.clock.Mono(), h.clock.Wall()
	h.mu.Lock()
	lasted := h.active > 0 || h.away != ""
	if t.tries > 0 {
		t.tries = 0
		h.active--
	}
	if reached {
		h.away = ""
	}
	back := lasted && h.active == 0 && h.away == ""
	switch {
	case back:
		h.last.Until = wall
	case h.active == 0 && h.away != "":
		h.last.Text, h.last.Remedy, h.last.Operator = h.away, "", false
	}
	say := back && h.said
	var attrs []any
	if say {
		attrs = []any{"after", (now - h.since).Round(time.Second).String(), "tries", h.last.Attempts}
		if h.diverted > 0 {
			attrs = append(attrs, "diverted", h.diverted)
		}
	}
	h.mu.Unlock()
	if say {
		h.log.Info("delivery is back", attrs...)
	}
}

// gaveUp ends the trouble of a batch that the target was given up for: n of its records go to the error output. Status shows the
// target's last error until it is reached; the first batch of a stretch is logged, the others are counted.
func (t *trouble) gaveUp(span hydrant.Span, n int64) {
	h, now := t.h, t.h.clock.Mono()
	h.mu.Lock()
	line := h.diverted == 0 && n > 0 && h.turns.take(now)
	h.away = t.err.Error()
	h.diverted += n
	h.said = h.said || line
	h.mu.Unlock()
	if line {
		h.log.Warn("records go to the error output", "span", span.String(), "records", n, "err", t.err)
	}
	t.over()
}

// end ends the trouble of something that has ended: well, or with an error that leaves the trouble as it is.
func (t *trouble) end(err error) {
	if err == nil {
		t.over()
	} else {
		t.leave()
	}
}

// leave leaves a trouble that lasts, and says nothing: the delivery stops, or status has it for good, and others are told
// of as if it were not there.
func (t *trouble) leave() {
	if t.tries == 0 {
		return
	}
	t.h.mu.Lock()
	defer t.h.mu.Unlock()
	t.tries = 0
	t.h.active--
}

// warn logs what may happen once a batch, a few times an hour.
func (h *health) warn(text string, err error) {
	now := h.clock.Mono()
	h.mu.Lock()
	line := h.warnings.take(now)
	h.mu.Unlock()
	if line {
		h.log.Warn(text, "err", err)
	}
}

// lastError is a copy of the trouble at hand, or of the last.
func (h *health) lastError() *LastError {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last == nil {
		return nil
	}
	e := *h.last
	return &e
}

// allowance lets through a few lines at once and then one in a while, so that a flapping target cannot fill a log.
type allowance struct {
	spent  int
	refill time.Duration
}

const (
	allowedAtOnce = 5
	allowedEvery  = 10 * time.Minute
)

func (a *allowance) take(now time.Duration) bool {
	if n := int((now - a.refill) / allowedEvery); n > 0 {
		a.spent = max(0, a.spent-n)
		a.refill += time.Duration(n) * allowedEvery
	}
	if a.spent == allowedAtOnce {
		return false
	}
	a.spent++
	return true
}
