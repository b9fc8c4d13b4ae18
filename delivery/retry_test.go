package delivery

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/hydrantd/hydrant/sinks"
)

func TestBackoffIsFullJitterUpToAMinute(t *testing.T) {
	for tries, bound := range map[int]time.Duration{
		1: 250 * time.Millisecond, 2: 500 * time.Millisecond, 3: time.Second, 8: 32 * time.Second, 9: time.Minute, 10: time.Minute, 1 << 40: time.Minute,
	} {
		var least, most time.Duration = time.Hour, 0
		for range 2000 {
			w := backoff(tries, rand.Reader)
			least, most = min(least, w), max(most, w)
		}
		if most > bound || most < bound*9/10 || least > bound/10 {
			t.Errorf("after %d tries: from %v to %v, want evenly up to %v", tries, least, most, bound)
		}
	}
	if w := backoff(1, bytes.NewReader(nil)); w != backoffBase {
		t.Errorf("without random bytes: %v, want the whole bound", w)
	}
}

func TestTheClassOfAnErrorIsTheSinksWord(t *testing.T) {
	wrapped := errors.Join(errors.New("put"), sinks.Operator(errors.New("403"), "grant it"))
	if c, remedy := classOf(wrapped); c != operator || remedy != "grant it" {
		t.Errorf("an operator's error inside another: %v %q", c, remedy)
	}
	if c, remedy := classOf(errors.New("503")); c != transient || remedy != "" {
		t.Errorf("another error: %v %q", c, remedy)
	}
}

func TestAnAllowanceLetsAFewThroughAndThenOneInAWhile(t *testing.T) {
	var a allowance
	n := 0
	for at := time.Duration(0); at < time.Hour; at += time.Second {
		if a.take(at) {
			n++
		}
	}
	if want := allowedAtOnce + int(time.Hour/allowedEvery) - 1; n != want {
		t.Errorf("%d in an hour, want %d", n, want)
	}
	if !a.take(100*time.Hour) || a.spent != 1 {
		t.Errorf("after a quiet time %d are spent, want 1", a.spent)
	}
}
