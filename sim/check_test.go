package sim

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/delivery"
)

// finding is what a destination and its error output hold for one machine.
type finding struct {
	parts   map[string]map[string]int // how often each part of each record was found; "" is a whole record
	refused map[string]int
	logs    map[string]string // the log that each record came from, by the names of the objects
	spans   map[string][]span // by log and run
}

type span struct {
	hydrant.Span
	name string
}

// objectName finds log, run and span. A build may leave the first two out, to see what becomes of it.
var objectName = regexp.MustCompile(`(?:-([a-z2-7]{16}))?(?:-([0-9a-f]{8}))?-(\d{16})-(\d{16})((?:-[a-z]+-failed)?)(\.json)?(\.gz|\.zst)?$`)

// read reads an object of any kind.
func (f *finding) read(m *machine, name string, b []byte) error {
	part := objectName.FindStringSubmatch(name)
	if part == nil || part[1] == "" && !hydrant.Sabotaged(hydrant.RuleNameLog) || part[2] == "" && !hydrant.Sabotaged(hydrant.RuleNameRun) {
		return fmt.Errorf("%s: no object has such a name", name)
	}
	from, _ := strconv.ParseUint(part[3], 10, 64)
	to, _ := strconv.ParseUint(part[4], 10, 64)
	b, err := unpack(b, part[7])
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	in := span{hydrant.Span{From: hydrant.Position(from), To: hydrant.Position(to)}, name}
	if part[5] != "" {
		return f.readErrors(m, in, part[1], part[2], b)
	}
	ids, parts, err := scan(b)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if len(ids) == 0 {
		return nil // the name was claimed for a batch that was given up
	}
	key := part[1] + "-" + part[2]
	f.spans[key] = append(f.spans[key], in)
	last := hydrant.Position(0)
	for i, id := range ids {
		if f.parts[id] == nil {
			f.parts[id] = map[string]int{}
		}
		f.parts[id][parts[i]]++
		if err := f.place(m, id, in, part[1], part[2], &last, parts[i] == "part2"); err != nil {
			return err
		}
	}
	return nil
}

// place checks that a record lies where its receipt says, behind the one before it.
func (f *finding) place(m *machine, id string, in span, log, run string, last *hydrant.Position, again bool) error {
	f.logs[id] = log
	r := m.byID[id]
	switch {
	case r == nil:
		return fmt.Errorf("%s: %s was never sent by this machine", in.name, id)
	case r.said == rejected:
		return fmt.Errorf("%s: %s was rejected", in.name, id)
	case r.said == nothing:
		return nil
	case log != "" && r.log.String() != log || run != "" && r.run.String() != run || r.pos < in.From || r.pos >= in.To:
		return fmt.Errorf("%s: %s lies at %s-%s-%d", in.name, id, r.log, r.run, r.pos)
	case r.pos < *last || r.pos == *last && !again:
		return fmt.Errorf("%s: %s at %d comes behind %d", in.name, id, r.pos, *last)
	}
	*last = r.pos
	return nil
}

func (f *finding) readErrors(m *machine, in span, log, run string, b []byte) error {
	last := hydrant.Position(0)
	for line := range bytes.Lines(b) {
		var e struct {
			AttemptsMade                             int
			ArrivalTimestamp, AttemptEndingTimestamp int64
			ErrorCode, ErrorMessage, RawData         string
			Pipeline, Destination, Stage, Log, Run   string
			Position                                 hydrant.Position
		}
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("%s: %w", in.name, err)
		}
		raw, err := base64.StdEncoding.DecodeString(e.RawData)
		if err != nil {
			return fmt.Errorf("%s: %w", in.name, err)
		}
		ids, _, err := scan(raw)
		if err != nil || len(ids) != 1 {
			return fmt.Errorf("%s: rawData holds %q, want one record (%w)", in.name, ids, err)
		}
		f.refused[ids[0]]++
		if err := f.place(m, ids[0], in, log, run, &last, false); err != nil {
			return err
		}
		if r := m.byID[ids[0]]; r.said == acknowledged && (e.Position != r.pos || e.Log != r.log.String() || e.Run != r.run.String() || e.Pipeline != pipeline || e.ErrorCode == "") {
			return fmt.Errorf("%s: the error record of %s says %+v", in.name, r.id, e)
		}
	}
	return nil
}

func unpack(b []byte, ext string) ([]byte, error) {
	switch ext {
	case ".gz":
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(z)
	case ".zst":
		z, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		return io.ReadAll(z)
	}
	return b, nil
}

// settle checks, in the last life and when everything is delivered, what only the running daemon can tell.
func (m *machine) settle(l *life) error {
	if used := l.memory.Used(); used != 0 {
		return fmt.Errorf("%d bytes of memory were not given back", used)
	}
	st := l.log.State()
	segments := 0
	for _, name := range m.disk.Files() {
		if strings.HasPrefix(name, streamDir+"/log/") && strings.HasSuffix(name, ".seg") {
			segments++
		}
		if strings.HasPrefix(name, streamDir+"/spool/") {
			return fmt.Errorf("%s is still there", name)
		}
	}
	if segments > 1 {
		return fmt.Errorf("everything is delivered, and there are %d segments with %d bytes; the log goes from %d to %d", segments, st.Disk, st.Horizon, st.End)
	}
	m.final, m.log = map[string]delivery.Status{}, st.Log
	for i, work := range l.works {
		got, err := m.ask(l, work)
		if err != nil {
			return err
		}
		m.final[l.dests[i].name] = got
	}
	return nil
}

// check holds what is at the destinations against what the producers were told.
func (m *machine) check() error {
	m.byID = map[string]*record{}
	for _, r := range append(slices.Clone(m.strays), m.records...) {
		m.byID[r.id] = r
	}
	for _, d := range m.dests {
		f := &finding{parts: map[string]map[string]int{}, refused: map[string]int{}, logs: map[string]string{}, spans: map[string][]span{}}
		err := m.collect(d, f)
		if err == nil {
			err = m.compare(d, f)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
	}
	return nil
}

func (m *machine) collect(d *destination, f *finding) error {
	read := func(name string) error {
		b, err := m.slurp(name)
		if err != nil {
			return err
		}
		return f.read(m, name, b)
	}
	for _, name := range m.disk.Files() {
		mine := strings.HasPrefix(name, "/out/"+d.name+"/") || strings.HasPrefix(name, "/data/errors/"+d.name+"/")
		if !mine || strings.Contains(name, "~") {
			continue
		}
		if err := read(name); err != nil {
			return err
		}
	}
	if d.kind == "s3" {
		for _, key := range m.store.Keys() {
			if strings.Contains(key, pipeline+"-"+d.name+"-") && m.store.Asked(m.name, key) {
				if err := f.read(m, key, m.store.Objects[key].Data); err != nil {
					return err
				}
			}
		}
	}
	if d.target != nil {
		if len(d.target.broken) > 0 {
			return errors.New(d.target.broken[0])
		}
		for _, name := range d.target.names() {
			rows, err := parseRows(d.target.shelf[name].data)
			if err != nil {
				return err
			}
			var all []byte
			for _, r := range rows {
				if !d.target.refuses || classOf(r.data) != odd {
					all = append(all, r.data...)
				}
			}
			if err := f.read(m, name, all); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *machine) slurp(name string) ([]byte, error) {
	file, err := m.disk.FS(m.w.Root()).Open(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	size, err := file.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	if _, err = file.ReadAt(b, 0); errors.Is(err, io.EOF) {
		err = nil
	}
	return b, errors.Join(err, file.Close())
}

// compare checks every record, the spans and the sums.
func (m *machine) compare(d *destination, f *finding) error {
	var count struct{ delivered, refused, dropped, unsure, missing int }
	current := m.log.String()
	for i, r := range append(slices.Clone(m.records), m.strays...) {
		stray := i >= len(m.records)
		whole, parts, refusals := f.parts[r.id][""], f.parts[r.id], f.refused[r.id]
		delivered := whole
		if len(parts) > 0 && whole == 0 {
			delivered = max(parts["part1"], parts["part2"])
			if parts["part1"] != parts["part2"] {
				return fmt.Errorf("of %s its parts were delivered as %v", r.id, parts)
			}
		}
		if n := delivered + refusals; n > 1 || len(parts) > 1 && whole > 0 {
			return fmt.Errorf("%s was delivered %v and refused %d times", r.id, parts, refusals)
		}
		want := d.fate(r)
		switch {
		case delivered > 0 && want == "dropped" && !d.mixed, refusals > 0 && want != "refused" && d.giveUp == 0 && !d.mixed, delivered > 0 && want == "refused" && !d.mixed:
			return fmt.Errorf("%s should be %s: delivered %d, refused %d", r.id, want, delivered, refusals)
		case r.said == acknowledged && delivered+refusals == 0 && want != "dropped" && !stray && i >= d.since && !(d.mixed && r.class == dropped):
			if !r.tail {
				count.missing++
			}
			if !m.damaged {
				return fmt.Errorf("%s, acknowledged at %s-%s-%d, is not there", r.id, r.log, r.run, r.pos)
			}
		}
		if f.logs[r.id] == current {
			count.delivered += delivered
			count.refused += refusals
		}
		if !stray && delivered+refusals == 0 && (want == "dropped" || d.mixed && r.class == dropped) && r.said != rejected {
			if r.said == acknowledged && i >= d.since {
				count.dropped++
			} else {
				count.unsure++
			}
		}
	}
	if err := f.overlaps(); err != nil {
		return err
	}
	st := m.final[d.name]
	sum := st.Delivered.Records + st.Refused.Records + st.Dropped.Records + st.Damaged.Records + st.Pending.Records
	switch {
	case hydrant.Sabotaged(hydrant.RuleNameLog): // which log something came from is not known then
	case st.Appended.Records != sum:
		return fmt.Errorf("appended %d, but the others add up to %d: %+v", st.Appended.Records, sum, st)
	case st.Delivered.Records != int64(count.delivered):
		return fmt.Errorf("the ledger says that %d were delivered, there are %d: %+v", st.Delivered.Records, count.delivered, st)
	case st.Refused.Records != int64(count.refused):
		return fmt.Errorf("the ledger says that %d were refused, there are %d: %+v", st.Refused.Records, count.refused, st)
	case !m.damaged && (st.Dropped.Records < int64(count.dropped) || st.Dropped.Records > int64(count.dropped+count.unsure)):
		return fmt.Errorf("the ledger says that %d were dropped, want %d and up to %d more: %+v", st.Dropped.Records, count.dropped, count.unsure, st)
	case !m.damaged && st.Damaged.Records != 0:
		return fmt.Errorf("the ledger says that %d are damaged, nothing was: %+v", st.Damaged.Records, st)
	case st.Damaged.Records < int64(count.missing):
		return fmt.Errorf("%d are missing, the ledger says that %d are damaged: %+v", count.missing, st.Damaged.Records, st)
	case st.Pending.Records != 0 || st.Ready != 0 || st.OldestPending != 0 || st.LastDelivery.After(epoch.Add(1000*time.Hour)):
		return fmt.Errorf("everything is delivered, and the status says %+v", st)
	}
	return nil
}

// fate is what should become of a record: delivered, refused or dropped.
func (d *destination) fate(r *record) string {
	if d.function {
		switch r.class {
		case dropped:
			return "dropped"
		case refused:
			return "refused"
		}
	}
	if d.kind == "target" && (r.class == odd || r.class == unfit) {
		return "refused"
	}
	return "delivered"
}

// overlaps checks that no position is in two objects.
func (f *finding) overlaps() error {
	for _, all := range f.spans {
		slices.SortFunc(all, func(a, b span) int { return int(int64(a.From) - int64(b.From)) })
		for i := 1; i < len(all); i++ {
			if all[i].From < all[i-1].To {
				return fmt.Errorf("%s and %s overlap", all[i-1].name, all[i].name)
			}
		}
	}
	return nil
}
