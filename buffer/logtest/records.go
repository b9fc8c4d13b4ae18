package logtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
)

func comeBack(open Open) error {
	attrs := []hydrant.Attribute{{Name: "file", Value: "/var/log/a"}, {Name: "host", Value: "h"}}
	origin := &hydrant.Identity{Log: hydrant.LogID{1}, Run: hydrant.RunID{2}, Pos: 3, Sub: 4}
	want := []hydrant.Record{
		{Data: []byte("plain")},
		{Data: []byte{}},
		{Data: bytes.Repeat([]byte{0, 1, 2, 255}, 300_000)},
		{Data: []byte("keyed"), Key: []byte("k")},
		{Data: []byte("with an empty key"), Key: []byte{}},
		{Data: []byte("with attributes"), Attrs: attrs},
		{Data: []byte("more of them"), Attrs: attrs[:1]},
		{Data: []byte("a piece"), Partial: true},
		{Data: []byte("replayed"), Origin: origin},
		{Data: []byte("all of it"), Key: []byte("k"), Attrs: attrs, Partial: true, Origin: origin},
	}
	compare := func(l buffer.Log) error {
		all, err := read(l, 1, buffer.Filter{})
		if err != nil {
			return err
		}
		if len(all) != len(want) {
			return fmt.Errorf("%d records are there, want %d", len(all), len(want))
		}
		for i, w := range want {
			g := all[i].Record
			if !bytes.Equal(g.Data, w.Data) || !bytes.Equal(g.Key, w.Key) || (g.Key == nil) != (w.Key == nil) || g.Partial != w.Partial ||
				len(g.Attrs)+len(w.Attrs) > 0 && !reflect.DeepEqual(g.Attrs, w.Attrs) || !reflect.DeepEqual(g.Origin, w.Origin) {
				return fmt.Errorf("record %d came back as %.200q", i, fmt.Sprintf("%+v", g))
			}
		}
		return nil
	}
	err := with(open, func(l buffer.Log) error {
		for _, r := range want { // one at a time, so that shards do not change their order
			if _, err := put(l, r); err != nil {
				return err
			}
		}
		return compare(l)
	})
	return errors.Join(err, with(open, compare))
}

func positions(open Open) error {
	return with(open, func(l buffer.Log) error {
		at := map[hydrant.Position]string{}
		last := int64(0)
		for i := range 50 {
			var records []hydrant.Record
			for j := range 1 + i%7 {
				records = append(records, keyed(fmt.Sprint("key ", j*i), "record %d of write %d", j, i))
			}
			receipt, err := put(l, records...)
			if err != nil {
				return err
			}
			st := l.State()
			if receipt.Log != st.Log || receipt.Run != st.Run {
				return fmt.Errorf("receipt of log %s run %s, state of %s and %s", receipt.Log, receipt.Run, st.Log, st.Run)
			}
			if receipt.Time < last {
				return fmt.Errorf("time fell from %d to %d", last, receipt.Time)
			}
			last = receipt.Time
			for j := range records {
				at[receipt.Position(j)] = string(records[j].Data)
			}
		}
		all, err := read(l, 1, buffer.Filter{})
		if err != nil {
			return err
		}
		if st := l.State(); int(st.End) != len(all)+1 || st.Horizon != 1 || int(st.Appended.Records) != len(all) || st.LastTime != last {
			return fmt.Errorf("%d records are there, the state is %+v", len(all), st)
		}
		for i, g := range all {
			if g.Pos != hydrant.Position(i+1) {
				return fmt.Errorf("record %d has position %d", i, g.Pos)
			}
			if at[g.Pos] != string(g.Data) {
				return fmt.Errorf("position %d is %q, the receipt says %q", g.Pos, g.Data, at[g.Pos])
			}
		}
		return nil
	})
}

func order(open Open) error {
	return with(open, func(l buffer.Log) error {
		for i := range 30 {
			var records []hydrant.Record
			for j := range 10 {
				records = append(records, keyed(fmt.Sprint("key ", j), "%03d", i*10+j))
			}
			if _, err := put(l, records...); err != nil {
				return err
			}
		}
		all, err := read(l, 1, buffer.Filter{})
		if err != nil {
			return err
		}
		last, shard := map[string]string{}, map[string]uint32{}
		for _, g := range all {
			key := string(g.Key)
			if last[key] >= string(g.Data) {
				return fmt.Errorf("%s: %s comes after %s", key, g.Data, last[key])
			}
			if was, known := shard[key]; known && was != g.Shard {
				return fmt.Errorf("%s is in the shards %d and %d", key, was, g.Shard)
			}
			last[key], shard[key] = string(g.Data), g.Shard
		}
		return nil
	})
}

func nothingYet(open Open) error {
	return with(open, func(l buffer.Log) error {
		for round := range 2 {
			var b hydrant.Batch
			end := l.State().End
			next, err := l.Reader(buffer.Filter{}).Read(end, 0, &b)
			if next != end || err != nil || b.Len() != 0 {
				return fmt.Errorf("round %d: read at the end %d gave %d records, %d, %w", round, end, b.Len(), next, err)
			}
			if _, err := put(l, text("a")); err != nil {
				return err
			}
		}
		return nil
	})
}

func limits(open Open) error {
	return with(open, func(l buffer.Log) error {
		for i := range 20 {
			if _, err := put(l, text("%d a", i), text("%d b", i), text("%d c", i)); err != nil {
				return err
			}
		}
		r := l.Reader(buffer.Filter{})
		for from := hydrant.Position(1); from < 60; from += 7 {
			for limit := from + 1; limit < 61; limit += 5 {
				var b hydrant.Batch
				pos := from
				for pos < limit {
					next, err := r.Read(pos, limit, &b)
					if err != nil || next <= pos || next > limit {
						return fmt.Errorf("read of %d-%d went on at %d: %w", pos, limit, next, err)
					}
					pos = next
				}
				if int64(b.Len()) != int64(limit-from) || b.At(0).Pos != from {
					return fmt.Errorf("read of %d-%d gave %d records", from, limit, b.Len())
				}
			}
		}
		return nil
	})
}

func hints(open Open) error {
	return with(open, func(l buffer.Log) error {
		const n = 40
		for range n {
			if _, err := put(l, hydrant.Record{Data: make([]byte, 200_000)}); err != nil {
				return err
			}
		}
		r, reads, records := l.Reader(buffer.Filter{}), 0, 0
		var b hydrant.Batch
		for pos := hydrant.Position(1); ; reads++ {
			b.Reset()
			next, err := r.Read(pos, 0, &b)
			if err != nil {
				return err
			}
			if b.Bytes() >= buffer.Hint+2_000_000 {
				return fmt.Errorf("one read gave %d bytes", b.Bytes())
			}
			if next == pos {
				break
			}
			pos, records = next, records+b.Len()
		}
		if records != n || reads > n/2 {
			return fmt.Errorf("%d records in %d reads, want %d in fewer than %d", records, reads, n, n/2)
		}
		return nil
	})
}

func notesOnly(open Open) error {
	return with(open, func(l buffer.Log) error {
		note := buffer.SourcePosition{Source: "tail", Key: "f", Position: []byte("9")}.Note()
		if _, err := l.Append(context.Background(), &buffer.Write{Notes: []buffer.Note{note}}); err != nil {
			return err
		}
		receipt, err := put(l, text("a"))
		if err != nil || receipt.Position(0) != 1 {
			return fmt.Errorf("the first record has position %d: %w", receipt.Position(0), err)
		}
		all, err := read(l, 1, buffer.Filter{})
		return errors.Join(err, same(all, "a"))
	})
}

func refused(open Open) error {
	return with(open, func(l buffer.Log) error {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		var b hydrant.Batch
		b.Append(text("cancelled"))
		if _, err := l.Append(ctx, &buffer.Write{Batch: &b, Block: true}); !errors.Is(err, context.Canceled) {
			return fmt.Errorf("append with a context that has ended: %w", err)
		}
		if _, err := put(l, hydrant.Record{Data: make([]byte, buffer.MaxBlock)}); !errors.Is(err, buffer.ErrTooLarge) {
			return fmt.Errorf("append of what no block can hold: %w", err)
		}
		if _, err := put(l, text("a")); err != nil {
			return err
		}
		all, err := read(l, 1, buffer.Filter{})
		return errors.Join(err, same(all, "a"))
	})
}

func concurrent(open Open) error {
	return with(open, func(l buffer.Log) error {
		const appenders, each = 32, 20
		errs := make([]error, appenders)
		var wg sync.WaitGroup
		for i := range appenders {
			wg.Go(func() {
				for j := range each {
					_, err := put(l, keyed(fmt.Sprint(i), "%d %03d a", i, j), keyed(fmt.Sprint(i), "%d %03d b", i, j))
					errs[i] = errors.Join(errs[i], err)
				}
			})
		}
		wg.Wait()
		all, err := read(l, 1, buffer.Filter{})
		if err = errors.Join(append(errs, err)...); err != nil {
			return err
		}
		seen, last := map[string]bool{}, map[string]string{}
		for _, g := range all {
			data, key := string(g.Data), string(g.Key)
			if seen[data] || last[key] >= data {
				return fmt.Errorf("%q is there twice, or out of order", data)
			}
			seen[data], last[key] = true, data
		}
		if len(seen) != 2*appenders*each {
			return fmt.Errorf("%d records are there, want %d", len(seen), 2*appenders*each)
		}
		return nil
	})
}

func closed(open Open) error {
	l, err := open()
	if err != nil {
		return err
	}
	if _, err := put(l, text("a")); err != nil {
		return err
	}
	if err := l.Close(); err != nil {
		return err
	}
	if _, err := put(l, text("b")); !errors.Is(err, buffer.ErrClosed) {
		return fmt.Errorf("append after close: %w", err)
	}
	all, err := read(l, 1, buffer.Filter{})
	return errors.Join(err, same(all, "a"), l.Close())
}

func runs(open Open) error {
	seen := map[hydrant.RunID]bool{}
	var want []string
	for i := range 4 {
		err := with(open, func(l buffer.Log) error {
			if st := l.State(); seen[st.Run] || int(st.End) != len(want)+1 {
				return fmt.Errorf("opening %d: %+v", i, st)
			}
			seen[l.State().Run] = true
			for j := range 3 {
				want = append(want, fmt.Sprint(i, j))
				if _, err := put(l, text("%s", want[len(want)-1])); err != nil {
					return err
				}
			}
			all, err := read(l, 1, buffer.Filter{})
			if err = errors.Join(err, same(all, want...)); err != nil {
				return err
			}
			for n, g := range all {
				if g.run != all[n/3*3].run || n/3 == i && g.run != l.State().Run || g.log != l.State().Log {
					return fmt.Errorf("opening %d: record %d is of run %s", i, n, g.run)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
