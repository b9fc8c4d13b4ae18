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

func TestMemoryServesWhoeverCameFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, c := hydrant.NewMemory(10), hydrant.NewSystemClock()
		served := make(chan string, 3)
		take := func(ctx context.Context, name string, n int64) {
			go func() {
				if m.Take(ctx, c, n) == nil {
					served <- name
				}
			}()
			synctest.Wait()
		}
		if !m.Try(6) {
			t.Fatal("an empty budget lends nothing")
		}
		giveUp, cancel := context.WithCancel(t.Context())
		take(giveUp, "the large one that gives up", 10)
		take(t.Context(), "the small one behind it", 2)
		if len(served) > 0 || m.Try(1) {
			t.Errorf("%d were served before the large one", len(served))
		}
		cancel()
		synctest.Wait()
		if len(served) != 1 || m.Used() != 8 {
			t.Errorf("%d were served with %d used when the large one gave up; want the small one, 8", len(served), m.Used())
		}
		take(t.Context(), "a large one", 9)
		take(t.Context(), "a small one", 1)
		m.Give(2)
		synctest.Wait()
		if len(served) != 1 {
			t.Errorf("%d were served while the large one waits", len(served)-1)
		}
		m.Give(6)
		synctest.Wait()
		if len(served) != 3 || m.Used() != 10 {
			t.Errorf("%d were served with %d used; want all 3, 10", len(served), m.Used())
		}
	})
}
