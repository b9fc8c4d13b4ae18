package logtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
)

// fill appends records of many sizes under many keys.
func fill(l buffer.Log, writes int) error {
	for i := range writes {
		var records []hydrant.Record
		for j := range 1 + i%5 {
			r := keyed(fmt.Sprint("key ", i*j), "%d.%d:", i, j)
			r.Data = append(r.Data, make([]byte, (i*37+j*101)%900)...)
			records = append(records, r)
		}
		if _, err := put(l, records...); err != nil {
			return err
		}
	}
	return nil
}

func oneShard(open Open) error {
	return with(open, func(l buffer.Log) error {
		if err := fill(l, 60); err != nil {
			return err
		}
		all, err := read(l, 1, buffer.Filter{})
		if err != nil {
			return err
		}
		byShard := map[uint32][]string{}
		for _, g := range all {
			byShard[g.Shard] = append(byShard[g.Shard], string(g.Data))
		}
		if len(byShard) < 2 {
			return fmt.Errorf("all records are in %d shards", len(byShard))
		}
		for _, s := range l.State().Shards {
			one, err := read(l, 1, buffer.Filter{One: true, Shard: s.ID})
			if err = errors.Join(err, same(one, byShard[s.ID]...)); err != nil {
				return fmt.Errorf("shard %d: %w", s.ID, err)
			}
		}
		return nil
	})
}

func measure(open Open) error {
	check := func(l buffer.Log) error {
		all, err := read(l, 1, buffer.Filter{})
		if err != nil {
			return err
		}
		for from := 0; from < len(all); from += 13 {
			for _, size := range []int64{1, 100, 1000, 20_000, 1 << 30} {
				for _, perRecord := range []int64{0, 1} {
					want := buffer.Extent{To: all[len(all)-1].Pos + 1, Time: all[from].Time}
					left := size
					for _, g := range all[from:] {
						if g.run != all[from].run {
							want.To, want.Whole, left = g.Pos, true, 0
							break
						}
						if left -= int64(len(g.Data)) + perRecord; left <= 0 {
							want.To, want.Whole, left = g.Pos+1, true, 0
							break
						}
					}
					want.Left = left
					have, err := l.Reader(buffer.Filter{}).Measure(all[from].Pos, size, perRecord)
					if err != nil || have != want {
						return fmt.Errorf("%d bytes from %d end at %+v, want %+v: %w", size, all[from].Pos, have, want, err)
					}
				}
			}
		}
		return nil
	}
	return errors.Join(
		with(open, func(l buffer.Log) error { return errors.Join(fill(l, 60), check(l)) }),
		with(open, func(l buffer.Log) error { return errors.Join(fill(l, 20), check(l)) }),
	)
}

func count(open Open) error {
	check := func(l buffer.Log) error {
		all, err := read(l, 1, buffer.Filter{})
		if err != nil {
			return err
		}
		filters := []buffer.Filter{{}}
		for _, s := range l.State().Shards {
			filters = append(filters, buffer.Filter{One: true, Shard: s.ID})
		}
		for _, f := range filters {
			for from := 1; from <= len(all)+1; from += 11 {
				var want buffer.Totals
				for _, g := range all[from-1:] {
					if !f.One || g.Shard == f.Shard {
						want.Add(buffer.Totals{Records: 1, Bytes: int64(len(g.Data))})
					}
				}
				have, err := l.Reader(f).Count(hydrant.Position(from))
				if err != nil || have != want {
					return fmt.Errorf("from %d on there are %+v, counted %+v: %w", from, want, have, err)
				}
			}
		}
		return nil
	}
	return errors.Join(
		with(open, func(l buffer.Log) error { return errors.Join(fill(l, 60), check(l)) }),
		with(open, func(l buffer.Log) error { return errors.Join(fill(l, 20), check(l)) }),
	)
}

func wait(open Open) error {
	return with(open, func(l buffer.Log) error {
		r := l.Reader(buffer.Filter{})
		if err := r.Wait(context.Background(), 1, 0); !errors.Is(err, hydrant.ErrDeadline) {
			return fmt.Errorf("wait with a deadline that has passed: %w", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		if err := r.Wait(ctx, 1, hydrant.Never); !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("wait with a context that ends: %w", err)
		}
		var waited, read error
		var b hydrant.Batch
		var wg sync.WaitGroup
		wg.Go(func() {
			waited = r.Wait(context.Background(), 1, hydrant.Never)
			_, read = r.Read(1, 0, &b)
		})
		_, err := put(l, text("a"))
		wg.Wait()
		if b.Len() != 1 {
			return fmt.Errorf("%d records are there after the wait: %w", b.Len(), errors.Join(err, waited, read))
		}
		return errors.Join(err, waited, read)
	})
}

func starts(open Open) error {
	return with(open, func(l buffer.Log) error {
		if err := fill(l, 3); err != nil {
			return err
		}
		for name, want := range map[string]hydrant.Position{"oldest": 1, "latest": l.State().End} {
			start := buffer.Oldest
			if name == "latest" {
				start = buffer.Latest
			}
			c, err := l.Cursor(name, start)
			if err != nil {
				return err
			}
			if c.Committed() != want || len(c.Entries()) != 0 {
				return fmt.Errorf("a new cursor at the %s starts at %d with %d entries", name, c.Committed(), len(c.Entries()))
			}
			if err := c.Close(); err != nil {
				return err
			}
		}
		return nil
	})
}

func remembers(open Open) error {
	var want []string
	at := hydrant.Position(1)
	for range 3 {
		err := with(open, func(l buffer.Log) error {
			if err := fill(l, 30); err != nil {
				return err
			}
			c, err := l.Cursor("c", buffer.Oldest)
			if err != nil {
				return err
			}
			var have []string
			for _, e := range c.Entries() {
				have = append(have, fmt.Sprintf("%d %s", e.Type, e.Body))
			}
			if !slices.Equal(have, want) || c.Committed() != at {
				return fmt.Errorf("%d entries and position %d came back, want %d and %d", len(have), c.Committed(), len(want), at)
			}
			for i := range 40 {
				at++
				e := buffer.Entry{Type: 200, Body: fmt.Appendf(nil, "entry %d of %d%s", i, at, make([]byte, i*100))}
				rewritten := false
				err := c.Write(hydrant.PointDone, at, []buffer.Entry{e, e}, func() []buffer.Entry {
					rewritten = true
					return []buffer.Entry{{Type: 201, Body: []byte("snapshot")}}
				})
				if err != nil || c.Committed() != at {
					return fmt.Errorf("committed is %d after writing %d: %w", c.Committed(), at, err)
				}
				if rewritten {
					want = []string{"201 snapshot"}
				}
				s := fmt.Sprintf("%d %s", e.Type, e.Body)
				want = append(want, s, s)
			}
			return c.Close()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func oneHolder(open Open) error {
	return with(open, func(l buffer.Log) error {
		c, err := l.Cursor("c", buffer.Oldest)
		if err != nil {
			return err
		}
		if _, err := l.Cursor("c", buffer.Oldest); err == nil {
			return errors.New("a cursor was opened twice")
		}
		if err := c.Close(); err != nil {
			return err
		}
		if c, err = l.Cursor("c", buffer.Oldest); err != nil {
			return fmt.Errorf("again, after it was closed: %w", err)
		}
		return c.Close()
	})
}

// kept: two cursors, of which one stays behind, over more than one segment.
func kept(open Open) error {
	return with(open, func(l buffer.Log) error {
		fast, err := l.Cursor("fast", buffer.Oldest)
		if err != nil {
			return err
		}
		slow, err := l.Cursor("slow", buffer.Oldest)
		if err != nil {
			return err
		}
		var want []string
		for i := range 30 {
			data := fmt.Sprintf("%d:%s", i, make([]byte, 100_000))
			want = append(want, data)
			if _, err := put(l, text("%s", data)); err != nil {
				return err
			}
			if err := fast.Write(hydrant.PointDone, l.State().End, nil, nil); err != nil {
				return err
			}
		}
		all, err := read(l, slow.Committed(), buffer.Filter{})
		return errors.Join(err, same(all, want...), slow.Close(), fast.Close())
	})
}
