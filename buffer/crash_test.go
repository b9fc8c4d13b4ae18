package buffer

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/sim"
)

// model is what a crash test knows of the log: what appenders were told, and what readers saw.
type model struct {
	w       *sim.World
	disk    *sim.Disk
	o       Options
	names   int
	tried   map[string]bool             // every record that was ever given to Append
	refused map[string]bool             // of them: those that provably were not written
	acked   map[string]hydrant.Identity // answered with nil
	seen    map[string]hydrant.Identity // read by anybody, ever
	at      map[hydrant.Position]string // what was seen, by position
	done    map[string]hydrant.Position // committed durably, by cursor
	writes  [3]int                      // of each appender, in all lives
	last    map[string][]string         // by appender and write: its records
	lives   int
}

func (m *model) fail(format string, args ...any) {
	m.w.Fail(fmt.Errorf("life %d: "+format, append([]any{m.lives}, args...)...))
}

// live opens the log and works with it until the process is killed.
func (m *model) live(p *sim.Process) {
	o := m.o
	o.FS, o.Clock, o.Rand = m.disk.FS(p), p, p
	o.Shards = 1 + m.w.Rand.IntN(3)
	var d *Disk
	for {
		var rec Recovery
		var err error
		if d, rec, err = Open(o); err == nil {
			if len(rec.Damaged) > 0 {
				m.fail("opened with damage: %v", rec.Damaged[0].Error())
			}
			break
		}
		if errors.Is(err, ErrBehind) || m.healthy() {
			m.fail("not opened: %v", err)
			return
		}
		p.Sleep(time.Second)
	}
	m.verify(d)
	for i := range 3 {
		p.Go(fmt.Sprint("appender", i), func() { m.produce(p, d, i) })
	}
	for _, name := range []string{"left", "right"} {
		p.Go(name, func() { m.deliver(p, d, name) })
	}
}

func (m *model) healthy() bool {
	return m.disk.Faults == sim.Faults{Writeback: m.disk.Faults.Writeback}
}

// verify reads everything and compares it with what was answered and seen before.
func (m *model) verify(d *Disk) {
	r := d.Reader(Filter{})
	var b hydrant.Batch
	st := d.State()
	there := map[string]bool{}
	for pos := st.Horizon; ; {
		b.Reset()
		next, err := r.Read(pos, 0, &b)
		m.see(&b, there)
		if c := (*Corrupt)(nil); errors.As(err, &c) {
			m.fail("damage: %v", c)
			return
		}
		if err != nil {
			if m.healthy() {
				m.fail("read: %v", err)
			}
			return
		}
		if next == pos {
			break
		}
		pos = next
	}
	for _, data := range slices.Sorted(maps.Keys(m.acked)) {
		if id := m.acked[data]; id.Pos >= st.Horizon && !there[data] {
			m.fail("%.20q was answered with position %d of run %s, and is not there; the log is %d-%d", data, id.Pos, id.Run, st.Horizon, st.End)
			return
		}
	}
	for _, data := range slices.Sorted(maps.Keys(m.seen)) {
		if id := m.seen[data]; id.Pos >= st.Horizon && !there[data] {
			m.fail("%.20q was read at position %d, and is gone; the log is %d-%d", data, id.Pos, st.Horizon, st.End)
			return
		}
	}
	m.positions(d)
}

// positions compares what the log remembers of each appender with what is there of it (I2).
func (m *model) positions(d *Disk) {
	at := map[string]string{}
	d.Positions("test", func(key string, pos []byte) bool {
		at[key] = string(pos)
		return true
	})
	for i, n := range m.writes {
		key := fmt.Sprint(i)
		var is int
		if at[key] != "" {
			if _, err := fmt.Sscan(at[key], &is); err != nil {
				m.fail("%v", err)
			}
		}
		for write := 1; write <= n; write++ {
			for _, data := range m.last[fmt.Sprint(i, " ", write)] {
				switch _, seen := m.seen[data]; {
				case seen && write > is:
					m.fail("%.20q is there, and its source position is not: it is %d", data, is)
				case !seen && write == is:
					m.fail("%.20q is not there, and its source position is", data)
				}
			}
		}
	}
}

// see takes note of what somebody read.
func (m *model) see(b *hydrant.Batch, there map[string]bool) {
	for i := range b.Len() {
		r := b.At(i)
		data, id := string(r.Data), hydrant.Identity{Log: b.Log, Run: b.Run, Pos: r.Pos}
		key, _, _ := strings.Cut(data, ":")
		switch was, known := m.seen[data]; {
		case !m.tried[data]:
			m.fail("%.20q was read and never written", data)
		case m.refused[data]:
			m.fail("%.20q was read and was refused", data)
		case known && was != id:
			m.fail("%.20q was read as %v and as %v", data, was, id)
		case there != nil && there[data]:
			m.fail("%.20q is there twice", data)
		case r.Key != nil && string(r.Key) != key:
			m.fail("%.20q has the key %q", data, r.Key)
		case m.at[r.Pos] != "" && m.at[r.Pos] != data:
			m.fail("position %d was %q and is %q", r.Pos, m.at[r.Pos], data)
		}
		if ack, ok := m.acked[data]; ok && ack != id {
			m.fail("%.20q was answered as %v and is read as %v", data, ack, id)
		}
		m.seen[data], m.at[r.Pos] = id, data
		if there != nil {
			there[data] = true
		}
	}
}

func (m *model) produce(p *sim.Process, d *Disk, appender int) {
	for {
		m.writes[appender]++
		note := SourcePosition{"test", fmt.Sprint(appender), fmt.Append(nil, m.writes[appender])}
		var b hydrant.Batch
		var all []string
		for range 1 + m.w.Rand.IntN(4) {
			m.names++
			n := m.w.Rand.IntN(200)
			if m.w.Rand.IntN(20) == 0 {
				n = m.w.Rand.IntN(30_000)
			}
			key := fmt.Sprint("k", m.w.Rand.IntN(9))
			data := fmt.Sprintf("%s:%d:%s", key, m.names, strings.Repeat("x", n))
			r := hydrant.Record{Data: []byte(data), Key: []byte(key)}
			if m.w.Rand.IntN(2) == 0 {
				r.Key = nil
			}
			b.Append(r)
			all = append(all, data)
			m.tried[data] = true
		}
		m.last[fmt.Sprint(appender, " ", m.writes[appender])] = all
		if m.w.Rand.IntN(6) == 0 { // a segment need not be full to get a successor
			d.hold(&d.turn)
			d.w.left = true
			d.turn.Give()
		}
		rec, err := d.Append(context.Background(), &Write{Batch: &b, Notes: []Note{note.Note()}, Block: m.w.Rand.IntN(2) == 0})
		for i, data := range all {
			switch {
			case err == nil:
				m.acked[data] = hydrant.Identity{Log: rec.Log, Run: rec.Run, Pos: rec.Position(i)}
			case errors.Is(err, ErrFull), errors.Is(err, ErrClosed):
				m.refused[data] = true
			}
		}
		if errors.Is(err, ErrPoisoned) {
			return
		}
		if err != nil && !errors.Is(err, ErrFull) {
			m.fail("append: %v", err)
		}
		p.Sleep(time.Duration(m.w.Rand.IntN(2000)) * time.Millisecond)
	}
}

// deliver reads and commits, and checks that its own entries come back.
func (m *model) deliver(p *sim.Process, d *Disk, name string) {
	var c Cursor
	for {
		var err error
		if c, err = d.Cursor(name, Oldest); err == nil {
			break
		}
		if m.healthy() {
			m.fail("cursor %s: %v", name, err)
		}
		p.Sleep(time.Second)
	}
	if c.Committed() < m.done[name] {
		m.fail("cursor %s fell from %d to %d", name, m.done[name], c.Committed())
	}
	r := d.Reader(Filter{})
	var b hydrant.Batch
	for pos := c.Committed(); ; {
		if err := r.Wait(context.Background(), pos, hydrant.Never); err != nil {
			m.fail("wait: %v", err)
		}
		b.Reset()
		next, err := r.Read(pos, 0, &b)
		if err != nil {
			if m.healthy() {
				m.fail("read: %v", err)
			}
			p.Sleep(time.Second)
			continue
		}
		m.see(&b, nil)
		entry := Entry{Type: 200, Body: []byte(fmt.Sprint(next, strings.Repeat("y", m.w.Rand.IntN(3000))))}
		err = c.Write(hydrant.PointDone, next, []Entry{entry}, func() []Entry { return []Entry{{Type: 201, Body: []byte("snapshot")}} })
		if err != nil {
			if m.healthy() {
				m.fail("cursor %s: %v", name, err)
			}
			if c.(*cursor).failed != nil {
				return
			}
			p.Sleep(time.Second)
			continue
		}
		pos, m.done[name] = next, next
		p.Sleep(time.Duration(m.w.Rand.IntN(3000)) * time.Millisecond)
	}
}

// crashes runs one log through several lives.
func crashes(seed uint64, lives int) error {
	w := sim.New(seed)
	m := &model{
		w: w, disk: w.NewDisk(),
		tried: map[string]bool{}, refused: map[string]bool{}, acked: map[string]hydrant.Identity{}, seen: map[string]hydrant.Identity{},
		at: map[hydrant.Position]string{}, done: map[string]hydrant.Position{}, last: map[string][]string{},
	}
	m.o = Options{Dir: "/data/streams/app", Name: "app", MaxBytes: 2 << 20}
	if w.Rand.IntN(3) == 0 {
		m.o.Retention = time.Duration(w.Rand.IntN(20)) * time.Second
	}
	if w.Rand.IntN(3) == 0 {
		m.disk.Capacity = 3 << 20
	}
	points := []hydrant.Point{
		hydrant.PointBlock, hydrant.PointBlock, hydrant.PointBlock, hydrant.PointSegmentHeader, hydrant.PointSegmentDir, hydrant.PointCursorFile,
		hydrant.PointDone, hydrant.PointSnapshot, hydrant.PointMkdir, hydrant.PointReserve,
	}
	return w.Run(func() {
		if err := m.disk.FS(w.Root()).MkdirAll("/data"); err != nil {
			w.Fail(err)
		}
		for range lives {
			m.lives++
			p := w.NewProcess(fmt.Sprint("life", m.lives), m.disk, time.Duration(w.Rand.IntN(7200)-3600)*time.Second)
			m.disk.Faults = sim.Faults{Writeback: 20_000}
			if w.Rand.IntN(3) == 0 {
				n := w.Rand.IntN(3000)
				m.disk.Faults = sim.Faults{Read: n, Write: n, Sync: n / 2, Meta: n, NoSpace: n, Writeback: 20_000}
			}
			if w.Rand.IntN(2) == 0 {
				p.Crash = &sim.CrashPlan{Point: points[w.Rand.IntN(len(points))], Nth: 1 + w.Rand.IntN(4), After: w.Rand.IntN(2) == 0, Power: w.Rand.IntN(2) == 0}
			}
			p.Go("open", func() { m.live(p) })
			w.Root().Sleep(time.Duration(w.Rand.IntN(30_000)) * time.Millisecond)
			p.Kill(w.Rand.IntN(4) > 0)
			if w.Failed() {
				return
			}
		}
		m.disk.Faults, m.disk.Capacity = sim.Faults{}, 0
		m.lives++
		p := w.NewProcess("last", m.disk, 0)
		p.Go("open", func() { m.live(p) })
		w.Root().Sleep(5 * time.Minute)
		for _, name := range slices.Sorted(maps.Keys(m.done)) {
			for data, id := range m.acked {
				if id.Pos < m.done[name] && m.seen[data] != id {
					m.fail("%.20q was passed by %s and never read", data, name)
				}
			}
		}
	})
}

var crashSeeds = flag.Uint64("crash-seeds", 30, "logs that TestCrashes runs")

func TestCrashes(t *testing.T) {
	for seed := range *crashSeeds {
		if err := crashes(seed, 6); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}
