package hydrant_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/hydrantd/hydrant"
)

func TestMemoryLendsUpToItsTotal(t *testing.T) {
	m := hydrant.NewMemory(100)
	for _, row := range []struct {
		say  string
		take int64
		give int64
		want bool
		used int64
	}{
		{"the first 60 are lent", 60, 0, true, 60},
		{"60 more are not", 60, 0, false, 60},
		{"40 are", 40, 0, true, 100},
		{"nothing is left", 1, 0, false, 100},
		{"all is given back and something oversized is lent alone", 500, 100, true, 500},
		{"nothing beside it", 1, 0, false, 500},
	} {
		if row.give > 0 {
			m.Give(row.give)
		}
		if got := m.Try(row.take); got != row.want || m.Used() != row.used {
			t.Errorf("%s: Try(%d) = %v, used %d; want %v, %d", row.say, row.take, got, m.Used(), row.want, row.used)
		}
	}
}

func TestMemoryWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, c := hydrant.NewMemory(10), hydrant.NewSystemClock()
		if err := m.Take(t.Context(), c, 10); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var served, gaveUp error = errors.New("not yet"), nil
		go func() { served = m.Take(t.Context(), c, 8) }()
		go func() { gaveUp = m.Take(ctx, c, 8) }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		if !errors.Is(gaveUp, context.Canceled) {
			t.Errorf("a Take whose context ended = %v", gaveUp)
		}
		m.Give(10)
		synctest.Wait()
		if served != nil || m.Used() != 8 {
			t.Errorf("the waiting Take = %v with %d used; want nil, 8", served, m.Used())
		}
	})
}
