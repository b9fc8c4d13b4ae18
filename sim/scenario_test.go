package sim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/delivery"
	"github.com/hydrantd/hydrant/sinks/object"
)

// scenario is everything that happens under one seed.
type scenario struct {
	w        *World
	store    *Store
	machines []*machine
	tally    *tally
	sent     int
	running  int // machines whose lives are not over
	flavour
}

// flavour is what a seed is about.
type flavour struct {
	name   string
	lives  int  // of each machine
	faulty bool // calls fail, the store is unreliable
	full   bool // the disk and the log fill up
	clones bool
	wipes  bool
	rot    bool // bits flip in the log
	twins  bool // two machines from the start, whose runs have the same ids
	fat    int  // size of records
	edits  bool
	jumps  bool
	big    bool          // objects are sent in parts
	even   bool          // producers and batches keep step, so that two machines cut alike
	pace   time.Duration // the longest pause between two appends of a producer
}

var flavours = []flavour{
	{name: "calm", lives: 30, fat: 200, edits: true, jumps: true},
	{name: "calm", lives: 30, fat: 200, edits: true, jumps: true},
	{name: "faulty", lives: 25, faulty: true, fat: 200, edits: true, jumps: true},
	{name: "faulty", lives: 25, faulty: true, fat: 1500},
	{name: "full", lives: 20, full: true, fat: 8000},
	{name: "full and faulty", lives: 20, full: true, faulty: true, fat: 8000, edits: true, jumps: true},
	{name: "clones", lives: 10, clones: true, fat: 200, even: true},
	{name: "wiped", lives: 20, wipes: true, fat: 200, edits: true, jumps: true},
	{name: "rotten", lives: 30, rot: true, fat: 200},
	{name: "twins", lives: 10, twins: true, fat: 200, even: true},
}

var big = flavour{name: "big", lives: 5, fat: 1 << 20, big: true, faulty: true, pace: 1500 * time.Millisecond}

// tally counts what the seeds of a run have seen.
type tally struct {
	crashes, cuts, kills int
	before, after        map[hydrant.Point]int
	records, objects     int
	seeds                int
	steps                int64 // of the longest seed
}

func newTally() *tally {
	return &tally{before: map[hydrant.Point]int{}, after: map[hydrant.Point]int{}}
}

func (t *tally) add(o *tally) {
	t.crashes, t.cuts, t.kills = t.crashes+o.crashes, t.cuts+o.cuts, t.kills+o.kills
	t.records, t.objects, t.seeds = t.records+o.records, t.objects+o.objects, t.seeds+o.seeds
	t.steps = max(t.steps, o.steps)
	for p, n := range o.before {
		t.before[p] += n
	}
	for p, n := range o.after {
		t.after[p] += n
	}
}

// kindsOf are the flavours of a name; all of them for none.
func kindsOf(name string) []flavour {
	var some []flavour
	for _, f := range flavours {
		if name == "" || f.name == name {
			some = append(some, f)
		}
	}
	return some
}

// play runs one seed. The hash is that of its trace.
func play(seed uint64, trace io.Writer) (hash uint64, t *tally, err error) {
	w := New(seed)
	w.Trace = trace
	kinds := kindsOf(os.Getenv("SIM_FLAVOUR"))
	s := &scenario{w: w, store: w.NewStore(), tally: newTally(), flavour: kinds[w.Rand.IntN(len(kinds))]}
	if seed%50 == 7 && len(kinds) == len(flavours) {
		s.flavour = big
	}
	s.pace = max(s.pace, 30*time.Millisecond)
	s.tally.seeds = 1
	err = w.Run(func() {
		s.begin()
		for _, m := range s.machines {
			s.direct(m)
		}
		root := w.Root()
		for s.running > 0 {
			root.Sleep(time.Second)
		}
		s.store.Faults, s.store.Denied = NetFaults{}, ""
		for _, m := range s.machines {
			if err := m.finish(); err != nil {
				w.Fail(fmt.Errorf("%s: %w", m.name, err))
				return
			}
		}
		root.Sleep(10 * time.Minute) // what is still on its way in the network arrives
		for _, m := range s.machines {
			if err := m.check(); err != nil {
				w.Fail(fmt.Errorf("%s: %w", m.name, err))
				return
			}
		}
		if len(s.store.Conflicts) > 0 {
			w.Fail(errors.New(s.store.Conflicts[0]))
		}
	})
	s.tally.steps = w.Steps()
	s.tally.records, s.tally.objects = s.sent, len(s.store.Objects)
	if err != nil {
		err = fmt.Errorf("%s: %w", s.flavour.name, err)
	}
	return w.Hash(), s.tally, err
}

// begin makes the machines.
func (s *scenario) begin() {
	r := s.w.Rand
	s.store.Absent = AbsentMode(r.IntN(3))
	s.store.Blank = func(key string, data []byte) bool { return bytes.Equal(data, object.Empty(key)) }
	m := &machine{scenario: s, name: "m0", disk: s.w.NewDisk(), shards: 1 + r.IntN(3), fat: s.flavour.fat}
	for _, dir := range []string{"/data", "/out"} { // the operator's
		m.disk.Mkdir(dir)
	}
	if s.full {
		m.maxBytes = int64(2+r.IntN(4)) << 20
	}
	kinds := []string{"file", "s3", "target"}
	r.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	kinds = kinds[:1+r.IntN(3)]
	if s.big {
		kinds = []string{"s3"}
	}
	for _, kind := range kinds {
		m.dests = append(m.dests, s.destination(kind, len(m.dests)))
	}
	s.machines = []*machine{m}
	if s.twins {
		twin := m.clone("m1")
		runs := []map[int]hydrant.RunID{{}}
		for _, one := range []*machine{m, twin} {
			one.poor = func(b []byte) {
				id, ok := runs[0][one.lives]
				if !ok {
					_, _ = s.w.Root().Read(id[:])
					runs[0][one.lives] = id
				}
				copy(b, id[:])
			}
		}
		s.machines = append(s.machines, twin)
	}
}

func (s *scenario) destination(kind string, n int) *destination {
	r := s.w.Rand
	d := &destination{
		name: fmt.Sprintf("%s%d", kind, n), kind: kind, bucket: "one", concurrency: 1 + r.IntN(4), function: r.IntN(2) == 0,
		batch:  delivery.Batch{Size: int64(s.fatness(300, 20)), Interval: s.w.between(0, 2*time.Second)},
		layout: object.Layout{TimeZone: "UTC", Compression: "none", Delimiter: "\n"},
	}
	if r.IntN(4) == 0 {
		d.giveUp = s.w.between(time.Second, 3*time.Minute)
	}
	if s.even {
		d.batch.Interval = 0
	}
	if s.big {
		d.batch.Size = int64(16+r.IntN(10)) << 20
	}
	if kind == "target" {
		d.target = newTarget(s.w, true)
	}
	s.edit(d)
	return d
}

// fatness is a size from lo up to that of n records.
func (s *scenario) fatness(lo, n int) int { return lo + s.w.Rand.IntN(n*max(300, s.flavour.fat/2)) }

// edit changes what a running delivery must not be confused by.
func (s *scenario) edit(d *destination) {
	r := s.w.Rand
	d.layout.Prefix = []string{"", "logs/", "!{timestamp:yyyy/MM/dd/HH/mm/}x", "a/b-"}[r.IntN(4)]
	d.layout.Delimiter = []string{"\n", "", "|"}[r.IntN(3)]
	d.bucket = []string{"one", "two"}[r.IntN(2)]
	d.layout.Compression, d.layout.Level = "none", 0
	if s.big {
		return
	}
	switch r.IntN(12) {
	case 0, 1, 2:
		d.layout.Compression, d.layout.Level = "gzip", 1+r.IntN(9)
	case 3:
		d.layout.Compression = "zstd"
	}
}

// direct makes a machine live and die, as an actor of its own.
func (s *scenario) direct(m *machine) {
	s.running++
	s.w.Root().Go("director of "+m.name, func() {
		defer func() { s.running-- }()
		for m.lives < s.flavour.lives {
			if err := m.live(); err != nil {
				s.w.Fail(fmt.Errorf("%s: %w", m.name, err))
				return
			}
			s.between(m)
		}
	})
}

// live is one life, until its end or its crash.
func (m *machine) live() error {
	w, root := m.w, m.w.Root()
	m.weather()
	plan := m.plan()
	l := m.start(plan)
	until := w.now + w.between(50*time.Millisecond, 1100*time.Millisecond+2*m.pace)
	if plan.Point == hydrant.PointDone { // it stands alone only when nothing else comes
		until += 3 * time.Second
	}
	if err := root.Wait(nil, until+30*time.Second, l.up, l.p.Gone()); err != nil {
		until = w.now // it does not come up in time: a slow disk, perhaps
	}
	for w.now < until && !l.p.Dead() && l.err == nil {
		_ = root.Wait(nil, min(until, w.now+w.between(10*time.Millisecond, time.Second)), l.p.Gone())
		if m.jumps && w.chance(100_000) {
			l.p.Jump(w.between(-time.Hour, time.Hour))
		}
		if w.chance(300_000) {
			m.weather()
		}
		if err := m.bounds(l); err != nil {
			return err
		}
	}
	switch {
	case l.p.Dead():
	case l.err != nil && m.healthy() && len(m.acceptGap) == 0:
		return fmt.Errorf("it does not start: %w", l.err)
	case l.err == nil && closed([]<-chan struct{}{l.up}) && w.chance(100_000):
		m.end(l, w.between(0, 2*time.Minute))
		if !l.p.Dead() {
			m.shut(l)
			return nil
		}
	default:
		plan = &CrashPlan{Power: plan.Power}
		l.p.Kill(plan.Power)
	}
	m.skew = l.p.Skew()
	m.count(plan)
	return nil
}

func (m *machine) count(plan *CrashPlan) {
	t := m.tally
	t.crashes++
	if plan.Power {
		t.cuts++
	} else {
		t.kills++
	}
	switch {
	case plan.Crashed && plan.After:
		t.after[plan.Point]++
	case plan.Crashed:
		t.before[plan.Point]++
	}
}

// points are where crashes are planned; those that come seldom are planned more often.
var points = map[hydrant.Point]int{
	hydrant.PointBlock: 2, hydrant.PointSegmentHeader: 2, hydrant.PointSegmentDir: 2, hydrant.PointCursorFile: 2, hydrant.PointReady: 2,
	hydrant.PointOutcome: 4, hydrant.PointSave: 4, hydrant.PointDone: 4, hydrant.PointSnapshot: 2, hydrant.PointSpoolFile: 2, hydrant.PointSpoolDir: 2,
	hydrant.PointTargetFile: 3, hydrant.PointTargetDir: 3, hydrant.PointMkdir: 2, hydrant.PointQuarantine: 0, hydrant.PointReserve: 1,
}

// plan decides where a life ends.
func (m *machine) plan() *CrashPlan {
	r := m.w.Rand
	p := &CrashPlan{Nth: 1, After: r.IntN(2) == 0, Power: r.IntN(4) > 0}
	sum := 0
	for _, one := range allPoints() {
		if sum += points[one]; r.IntN(max(sum, 1)) < points[one] {
			p.Point = one
		}
	}
	switch {
	case m.rot && r.IntN(4) > 0:
		p.Point = hydrant.PointQuarantine
	case m.full && r.IntN(2) == 0:
		p.Point = hydrant.PointReserve
	case r.IntN(2) == 0:
		p.Nth += r.IntN(20)
	}
	return p
}

// weather changes what fails and what is full.
func (m *machine) weather() {
	r := m.w.Rand
	d := m.disk
	d.Faults = Faults{Writeback: d.Faults.Writeback}
	d.Latency, d.Tenant, d.Capacity = 0, 0, 0
	m.store.Faults, m.store.Denied = NetFaults{}, ""
	for _, dest := range m.dests {
		if dest.target != nil {
			dest.target.Faults = targetFaults{}
		}
	}
	if r.IntN(3) == 0 {
		d.Latency = time.Second
	}
	if m.full && r.IntN(2) == 0 {
		d.Capacity = d.Used() + int64(r.IntN(1<<20))
	}
	if !m.faulty || r.IntN(3) == 0 {
		return
	}
	some := func(n int) int { return r.IntN(n) * r.IntN(2) }
	d.Faults.Read, d.Faults.Write, d.Faults.Meta = some(500), some(500), some(500)
	d.Faults.Sync, d.Faults.NoSpace = some(2000), some(2000)
	m.store.Faults = NetFaults{
		Refuse: some(100_000), Err5xx: some(100_000), Late5xx: some(100_000), Swallow: some(100_000), Partial: some(100_000),
		Hang: some(20_000), Delay: some(50_000), Conflict: some(50_000),
	}
	if r.IntN(6) == 0 {
		m.store.Denied = []string{"AccessDenied", "NoSuchBucket", "ExpiredToken"}[r.IntN(3)]
	}
	for _, dest := range m.dests {
		if dest.target != nil {
			dest.target.Faults = targetFaults{some(100_000), some(100_000), some(100_000), some(20_000), some(50_000)}
		}
	}
}

// healthy tells whether nothing fails on this machine's disk now.
func (m *machine) healthy() bool {
	f := m.disk.Faults
	f.Writeback = 0
	return f == Faults{} && m.disk.Capacity == 0 && !m.faulty && !m.full
}

// heal makes everything work.
func (m *machine) heal() {
	m.disk.Faults = Faults{Writeback: m.disk.Faults.Writeback}
	m.disk.Capacity, m.disk.Tenant, m.disk.Latency = 0, 0, 0
	for _, d := range m.dests {
		d.off = false
		if d.target != nil {
			d.target.Faults = targetFaults{}
		}
	}
}

// between is what happens to a machine that stands still.
func (s *scenario) between(m *machine) {
	w, r := s.w, s.w.Rand
	if s.edits && r.IntN(2) == 0 {
		for _, d := range m.dests {
			if r.IntN(2) == 0 {
				s.edit(d)
			}
			if r.IntN(8) == 0 && m.disk.Usage(streamDir+"/cursors/"+d.name+".a") > 0 {
				d.off = !d.off
			}
			if r.IntN(10) == 0 {
				d.function, d.mixed = !d.function, true
			}
		}
		r.Shuffle(len(m.dests), func(i, j int) { m.dests[i], m.dests[j] = m.dests[j], m.dests[i] })
		if len(m.dests) < 4 && r.IntN(10) == 0 {
			d := s.destination([]string{"file", "s3", "target"}[r.IntN(3)], len(m.dests))
			d.since = len(m.records)
			m.dests = append(m.dests, d)
		}
		if r.IntN(10) == 0 {
			m.shards = 1 + r.IntN(4)
		}
	}
	if s.jumps && r.IntN(4) == 0 {
		m.skew += w.between(-time.Hour, time.Hour)
	}
	if s.clones && len(s.machines) < 3 && r.IntN(4) == 0 {
		c := m.clone(fmt.Sprintf("m%d", len(s.machines)))
		s.machines = append(s.machines, c)
		s.direct(c)
	}
	if s.wipes && r.IntN(5) == 0 {
		m.disk.Wipe("/data")
		m.strays, m.records = append(m.strays, m.records...), nil
		for _, d := range m.dests {
			d.since, d.off = 0, false
		}
	}
	if s.rot && r.IntN(2) == 0 {
		m.flip()
	}
}

// flip changes a bit somewhere in the log, now and then in the last block.
func (m *machine) flip() {
	logs := slices.DeleteFunc(m.disk.Files(), func(name string) bool {
		return len(name) < len(streamDir+"/log/") || name[:len(streamDir)+5] != streamDir+"/log/"
	})
	if len(logs) == 0 {
		return
	}
	name := logs[m.w.Rand.IntN(len(logs))]
	if !m.disk.Flip(name, m.w.Rand.Int64N(8*64<<10)) {
		return
	}
	m.damaged = true
	// A damaged block at the very end cannot be told from one that was never finished: its records are lost uncounted.
	last := hydrant.Position(0)
	for _, r := range m.records {
		last = max(last, r.pos)
	}
	for _, r := range m.records {
		if r.said == acknowledged && r.pos+64 > last {
			r.tail = true
		}
	}
}

// bounds checks what holds at every moment.
func (m *machine) bounds(l *life) error {
	if m.maxBytes > 0 {
		if used := m.disk.Usage(streamDir+"/log") + m.disk.Usage(streamDir+"/spool"); used > m.maxBytes+int64(m.slack()) {
			return fmt.Errorf("log and spool take %d bytes, the cap is %d", used, m.maxBytes)
		}
	}
	for _, d := range m.dests {
		if d.target != nil && len(d.target.broken) > 0 {
			return fmt.Errorf("%s: %s", d.name, d.target.broken[0])
		}
	}
	return nil
}

// slack is what log and spool may have beyond the cap: the cap of the log is given to it alone here, so the spools come on top.
func (m *machine) slack() int {
	n := 0
	for _, d := range m.dests {
		n += d.concurrency * (int(d.batch.Size) + 64*m.fat + 64<<10)
	}
	return n
}

// finish is the last life of a machine: nothing fails any more, all is delivered.
func (m *machine) finish() error {
	m.heal()
	l := m.start(nil)
	root := m.w.Root()
	if err := root.Wait(nil, m.w.now+time.Hour, l.up); err != nil {
		return fmt.Errorf("it does not come up\n%s", m.w.Waiting())
	}
	if errors.Is(l.err, buffer.ErrBehind) && m.damaged {
		l.p.Kill(false)
		return m.finish()
	}
	if l.err != nil {
		return fmt.Errorf("it does not start: %w", l.err)
	}
	root.Sleep(m.w.between(0, 5*time.Second))
	if !m.end(l, 48*time.Hour) {
		return fmt.Errorf("it does not drain: %w\n%s", errors.Join(l.errs...), m.status(l))
	}
	if err := m.settle(l); err != nil {
		return err
	}
	m.shut(l)
	return nil
}

func (m *machine) status(l *life) string {
	s := ""
	for i, work := range l.works {
		st, err := m.ask(l, work)
		s += fmt.Sprintf("%s: %+v %v\n", l.dests[i].name, st, err)
		if st.LastError != nil {
			s += fmt.Sprintf("  %+v\n", *st.LastError)
		}
	}
	return s + m.w.Waiting()
}

// ask reads the status as an actor of the process.
func (m *machine) ask(l *life, work *delivery.Delivery) (st delivery.Status, err error) {
	done := make(chan struct{})
	l.p.Go("status", func() {
		defer close(done)
		st, err = work.Status()
	})
	_ = m.w.Root().Wait(nil, hydrant.Never, done, l.p.Gone())
	return st, err
}
