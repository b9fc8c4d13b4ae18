package buffer

import (
	"encoding/binary"
	"fmt"

	"github.com/hydrantd/hydrant"
)

// The meta of a run is what its records have beside their data, as columns: for each bit of the run's flags from 0 to 23 that is
// set, in that order, a length (u32) and the column. A run of bare records has no meta, so that data alone is what a
// function gets.
//
//	bit  column, per record
//	0    key          uvarint: 0 = none, else length + 1, and its bytes
//	1    time         varint (zigzag): record's − block's, ms; absent = the block's
//	2    origin       u8 0 or 1, and with 1 the 26 bytes of the identity
//	3    attributes   uvarint: 0 = none, else 1 + the index of a set in the block's table (a note)
//	4    marks        u8, bit 0: partial; the rest is for later and may be ignored
const (
	runKeys uint32 = 1 << iota
	runTimes
	runOrigins
	runAttrs
	runMarks

	runColumns         = 24                         // bits 0–23 stand for a column
	runMayIgnore       = uint32(0x00ff0000)         // columns that a reader may skip
	runKnown           = uint32(runMarks<<1 - 1)    // what this version knows
	runUnknown         = ^(runKnown | runMayIgnore) // what it must refuse; 1<<24 is kept for compressed, 1<<25 for sealed runs
	markPartial  uint8 = 1
)

// errShortRun: the columns or lengths of a run whose checksum is right do not add up.
var errShortRun = fmt.Errorf("%w: the records do not fill their run", errNoBlock)

// attrTable holds the sets of attributes of a block, by index. Sets are shared by records: nobody writes to them.
type attrTable [][]hydrant.Attribute

// parseAttrs decodes the body of a NoteAttributes.
func parseAttrs(body []byte) (attrTable, error) {
	pairs, sets, err := parseInterned(body)
	if err != nil {
		return nil, err
	}
	table := make(attrTable, len(sets))
	for i, set := range sets {
		table[i] = make([]hydrant.Attribute, len(set))
		for j, at := range set {
			table[i][j] = pairs[at]
		}
	}
	return table, nil
}

// parseInterned takes the body of a NoteAttributes apart: u32 number of pairs, each two strings; u32 number of sets, each u16
// number and as many u32 indices of pairs.
func parseInterned(body []byte) (pairs []hydrant.Attribute, sets [][]uint32, err error) {
	f := fields{b: body}
	pairs = make([]hydrant.Attribute, f.count(8))
	for i := range pairs {
		pairs[i] = hydrant.Attribute{Name: string(f.bytes()), Value: string(f.bytes())}
	}
	sets = make([][]uint32, f.count(2))
	for i := range sets {
		n := int(f.u16())
		if n*4 > len(f.b) {
			f.short = true
			break
		}
		sets[i] = make([]uint32, n)
		for j := range sets[i] {
			at := f.u32()
			if uint64(at) >= uint64(len(pairs)) {
				return nil, nil, fmt.Errorf("attributes: pair %d of %d", at, len(pairs))
			}
			sets[i][j] = at
		}
	}
	return pairs, sets, f.end("attributes")
}

// blockAttrs finds the table among the notes of a block. Without one it is empty.
func blockAttrs(notes []Note) (attrTable, error) {
	for _, n := range notes {
		if n.Type == NoteAttributes {
			return parseAttrs(n.Body)
		}
	}
	return nil, nil
}

// attrWriter interns the attributes of a block. Pairs and sets are numbered in the order in which they come up.
type attrWriter struct {
	pairs   []hydrant.Attribute
	pairAt  map[hydrant.Attribute]uint32
	sets    [][]uint32
	setAt   map[string]int
	scratch []byte

	last   *hydrant.Attribute // of the set asked for last, and its number: neighbours mostly share it
	lastN  int
	lastIs int
}

func (w *attrWriter) collect(recs []hydrant.Record) {
	for i := range recs {
		if len(recs[i].Attrs) > 0 {
			w.set(recs[i].Attrs)
		}
	}
}

// set returns the number of a set that is not empty, from 0.
func (w *attrWriter) set(attrs []hydrant.Attribute) int {
	if w.last == &attrs[0] && w.lastN == len(attrs) {
		return w.lastIs
	}
	if w.setAt == nil {
		w.pairAt, w.setAt = map[hydrant.Attribute]uint32{}, map[string]int{}
	}
	w.scratch = w.scratch[:0]
	for _, a := range attrs {
		at, ok := w.pairAt[a]
		if !ok {
			at = uint32(len(w.pairs))
			w.pairs, w.pairAt[a] = append(w.pairs, a), at
		}
		w.scratch = binary.LittleEndian.AppendUint32(w.scratch, at)
	}
	is, ok := w.setAt[string(w.scratch)]
	if !ok {
		set := make([]uint32, len(attrs))
		for i := range set {
			set[i] = binary.LittleEndian.Uint32(w.scratch[4*i:])
		}
		is = len(w.sets)
		w.sets, w.setAt[string(w.scratch)] = append(w.sets, set), is
	}
	w.last, w.lastN, w.lastIs = &attrs[0], len(attrs), is
	return is
}

// appendNote appends the table as a note; nothing when it is empty.
func (w *attrWriter) appendNote(b []byte) []byte {
	if len(w.sets) == 0 {
		return b
	}
	body := binary.LittleEndian.AppendUint32(nil, uint32(len(w.pairs)))
	for _, p := range w.pairs {
		body = appendString(appendString(body, p.Name), p.Value)
	}
	body = binary.LittleEndian.AppendUint32(body, uint32(len(w.sets)))
	for _, set := range w.sets {
		body = binary.LittleEndian.AppendUint16(body, uint16(len(set)))
		for _, at := range set {
			body = binary.LittleEndian.AppendUint32(body, at)
		}
	}
	return appendNotes(b, []Note{{Type: NoteAttributes, Body: body}})
}

// appendRun appends meta and data of a run, and sets its lengths and flags.
func appendRun(dst []byte, r *shardRun, blockTime int64, recs []hydrant.Record, table *attrWriter) []byte {
	r.flags = 0
	for i := range recs {
		rec := &recs[i]
		if rec.Key != nil {
			r.flags |= runKeys
		}
		if rec.Time != blockTime {
			r.flags |= runTimes
		}
		if rec.Origin != nil {
			r.flags |= runOrigins
		}
		if len(rec.Attrs) > 0 {
			r.flags |= runAttrs
		}
		if rec.Partial {
			r.flags |= runMarks
		}
	}
	start := len(dst)
	for column := runKeys; column <= runMarks; column <<= 1 {
		if r.flags&column == 0 {
			continue
		}
		at := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		for i := range recs {
			dst = appendCell(dst, column, &recs[i], blockTime, table)
		}
		binary.LittleEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	}
	data := len(dst)
	for i := range recs {
		dst = appendString(dst, recs[i].Data)
	}
	r.metaLen, r.dataLen = uint32(data-start), uint32(len(dst)-data)
	return dst
}

// appendCell appends what one record has in one column.
func appendCell(dst []byte, column uint32, rec *hydrant.Record, blockTime int64, table *attrWriter) []byte {
	switch column {
	case runKeys:
		if rec.Key == nil {
			return append(dst, 0)
		}
		return append(binary.AppendUvarint(dst, uint64(len(rec.Key))+1), rec.Key...)
	case runTimes:
		return binary.AppendVarint(dst, rec.Time-blockTime)
	case runOrigins:
		if rec.Origin == nil {
			return append(dst, 0)
		}
		return appendIdentity(append(dst, 1), rec.Origin)
	case runAttrs:
		if len(rec.Attrs) == 0 {
			return append(dst, 0)
		}
		return binary.AppendUvarint(dst, uint64(table.set(rec.Attrs))+1)
	default:
		if rec.Partial {
			return append(dst, markPartial)
		}
		return append(dst, 0)
	}
}

// columns are the columns of a run that is being decoded: what is left of each.
type columns struct {
	keys, times, origins, attrs, marks []byte
	table                              attrTable
	identities                         []hydrant.Identity // one array for all origins; never grown
}

func (c *columns) open(r *shardRun, meta []byte, table attrTable) error {
	c.table = table
	f := fields{b: meta}
	for bit := range runColumns {
		if r.flags&(1<<bit) == 0 {
			continue
		}
		column := f.bytes()
		switch uint32(1) << bit {
		case runKeys:
			c.keys = column
		case runTimes:
			c.times = column
		case runOrigins:
			c.origins = column
			c.identities = make([]hydrant.Identity, 0, len(column)/(1+identityLen))
		case runAttrs:
			c.attrs = column
		case runMarks:
			c.marks = column
		}
	}
	if f.short || len(f.b) > 0 {
		return errShortRun
	}
	return nil
}

// fill sets what rec has in the columns.
func (c *columns) fill(flags uint32, rec *hydrant.Record) bool {
	if flags&runKeys != 0 {
		n, w := binary.Uvarint(c.keys)
		if w <= 0 || n > uint64(len(c.keys)-w)+1 {
			return false
		}
		if c.keys = c.keys[w:]; n > 0 {
			rec.Key, c.keys = c.keys[:n-1:n-1], c.keys[n-1:]
		}
	}
	if flags&runTimes != 0 {
		delta, w := binary.Varint(c.times)
		if w <= 0 {
			return false
		}
		rec.Time, c.times = rec.Time+delta, c.times[w:]
	}
	if flags&runOrigins != 0 && !c.fillOrigin(rec) {
		return false
	}
	if flags&runAttrs != 0 {
		n, w := binary.Uvarint(c.attrs)
		if w <= 0 || n > uint64(len(c.table)) {
			return false
		}
		if c.attrs = c.attrs[w:]; n > 0 {
			rec.Attrs = c.table[n-1]
		}
	}
	if flags&runMarks != 0 {
		if len(c.marks) == 0 {
			return false
		}
		rec.Partial, c.marks = c.marks[0]&markPartial != 0, c.marks[1:]
	}
	return true
}

func (c *columns) fillOrigin(rec *hydrant.Record) bool {
	switch {
	case len(c.origins) > 0 && c.origins[0] == 0:
		c.origins = c.origins[1:]
	case len(c.origins) > identityLen && c.origins[0] == 1:
		c.identities = append(c.identities, parseIdentity(c.origins[1:]))
		rec.Origin, c.origins = &c.identities[len(c.identities)-1], c.origins[1+identityLen:]
	default:
		return false
	}
	return true
}

// empty tells whether every column ended with the last record.
func (c *columns) empty() bool {
	return len(c.keys)+len(c.times)+len(c.origins)+len(c.attrs)+len(c.marks) == 0
}

// decoder decodes a run that checkRun has verified, in as many steps as one likes.
type decoder struct {
	columns
	run  shardRun
	base hydrant.Position // of the block
	time int64
	at   uint32 // the record that comes next
	data []byte // from there on
}

// decoder begins with the run stored in b. Key and Data of its records alias b; Attrs are table's, which is needed only when
// r.needsNotes().
func (h *head) decoder(r *shardRun, b []byte, table attrTable) (*decoder, error) {
	if len(b) != r.stored() {
		return nil, fmt.Errorf("%w: run of %d bytes, want %d", errNoBlock, len(b), r.stored())
	}
	d := &decoder{run: *r, base: h.base, time: h.time, data: b[r.metaLen:]}
	return d, d.open(r, b[:r.metaLen], table)
}

// next is the position of the record that comes next.
func (d *decoder) next() hydrant.Position { return d.base + hydrant.Position(d.run.first+d.at) }

// each calls into with the records that are left; into ends it by false, behind the record it was called with.
func (d *decoder) each(into func(hydrant.Record) bool) error {
	for d.at < d.run.count {
		if len(d.data) < 4 {
			return errShortRun
		}
		n := uint64(binary.LittleEndian.Uint32(d.data)) + 4
		if n > uint64(len(d.data)) {
			return errShortRun
		}
		rec := hydrant.Record{Pos: d.next(), Shard: d.run.shard, Time: d.time, Data: d.data[4:n:n]}
		if d.run.flags != 0 && !d.fill(d.run.flags, &rec) {
			return errShortRun
		}
		d.at, d.data = d.at+1, d.data[n:]
		if !into(rec) {
			return nil
		}
	}
	if len(d.data) > 0 || !d.empty() {
		return errShortRun
	}
	return nil
}

// decodeRun calls into with each record of a run that checkRun has verified; into ends it by false.
func (h *head) decodeRun(r *shardRun, b []byte, table attrTable, into func(hydrant.Record) bool) error {
	d, err := h.decoder(r, b, table)
	if err != nil {
		return err
	}
	return d.each(into)
}

// payloadSize is the most that the records and notes of a Write add to the block they go into, beyond head, directory and
// padding. Times are taken to be the block's.
func payloadSize(b *hydrant.Batch, notes []Note) int64 {
	var n int64
	for i := range notes {
		n += noteHeadLen + int64(len(notes[i].Body))
	}
	if b == nil {
		return n
	}
	const lengths, cells, column = 4, 4, 4 // a record of others in the run may open a column: a byte in each for all
	var seen map[*hydrant.Attribute]bool
	for i := range b.Len() {
		r := b.At(i)
		n += lengths + cells + int64(len(r.Data))
		if r.Key != nil {
			n += column + binary.MaxVarintLen32 + int64(len(r.Key))
		}
		if r.Origin != nil {
			n += column + identityLen
		}
		if r.Partial {
			n += column
		}
		if len(r.Attrs) == 0 {
			continue
		}
		n += column + binary.MaxVarintLen32
		if seen[&r.Attrs[0]] {
			continue
		}
		if seen == nil {
			seen = map[*hydrant.Attribute]bool{}
			n += noteHeadLen + 8
		}
		seen[&r.Attrs[0]] = true
		n += 2
		for _, a := range r.Attrs {
			n += 4 + 8 + int64(len(a.Name)+len(a.Value))
		}
	}
	return n
}
