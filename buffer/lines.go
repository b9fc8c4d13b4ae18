package buffer

import (
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"unicode/utf8"

	"github.com/hydrantd/hydrant"
)

// line is one line of JSON being written, as FORMAT.md has it: keys in the order of the calls, no spaces.
type line []byte

func (l line) begin() line { return append(l, '{') }
func (l line) end() line   { return append(l, '}') }

func (l line) comma() line {
	if n := len(l); n > 0 && l[n-1] != '{' && l[n-1] != '[' {
		return append(l, ',')
	}
	return l
}

func (l line) key(key string) line {
	l = append(l.comma(), '"')
	l = append(l, key...)
	return append(l, '"', ':')
}

func (l line) number(key string, n int64) line { return strconv.AppendInt(l.key(key), n, 10) }

func (l line) position(key string, n uint64) line { return strconv.AppendUint(l.key(key), n, 10) }

// word adds a string that needs no escaping.
func (l line) word(key, s string) line {
	return append(append(append(l.key(key), '"'), s...), '"')
}

func (l line) hex(key string, b []byte) line { return l.word(key, hex.EncodeToString(b)) }

func (l line) base64(key string, b []byte) line {
	l = append(l.key(key+"64"), '"')
	return append(base64.StdEncoding.AppendEncode(l, b), '"')
}

// text adds any bytes: a string if they are UTF-8, else base64 under the key with "64" behind it.
func (l line) text(key string, b []byte) line {
	if !utf8.Valid(b) {
		return l.base64(key, b)
	}
	l = append(l.key(key), '"')
	for _, c := range b {
		switch {
		case c == '"' || c == '\\':
			l = append(l, '\\', c)
		case c >= ' ':
			l = append(l, c)
		default:
			l = append(l, escapes[c]...)
		}
	}
	return append(l, '"')
}

// escapes are JSON's of the control characters.
var escapes = func() (e [' ']string) {
	for c := range e {
		e[c] = `\u00` + hex.EncodeToString([]byte{byte(c)})
	}
	e['\b'], e['\f'], e['\n'], e['\r'], e['\t'] = `\b`, `\f`, `\n`, `\r`, `\t`
	return e
}()

func (l line) totals(key string, t Totals) line {
	return l.key(key).begin().number("records", t.Records).number("bytes", t.Bytes).end()
}

func (l line) pairs(key string, pairs []hydrant.Attribute) line {
	l = append(l.key(key), '[')
	for _, a := range pairs {
		l = l.comma().begin().text("name", []byte(a.Name)).text("value", []byte(a.Value)).end()
	}
	return append(l, ']')
}

func (l line) numbers(key string, list []uint32) line { return l.key(key).list(list) }

func (l line) list(list []uint32) line {
	l = append(l, '[')
	for _, n := range list {
		l = strconv.AppendUint(l.comma(), uint64(n), 10)
	}
	return append(l, ']')
}

func (l line) identity(key string, id hydrant.Identity) line {
	l = l.word(key, id.Log.String()+"-"+id.Run.String()+"-"+strconv.FormatUint(uint64(id.Pos), 10))
	l = append(l[:len(l)-1], '.')
	return append(strconv.AppendUint(l, uint64(id.Sub), 10), '"')
}

func (l line) segment(s *segmentFile) line {
	h := &s.header
	return l.begin().word("segment", s.name).word("run", h.run.String()).word("log", h.log.String()).
		position("base", uint64(h.base)).number("created", h.created).number("opening", int64(h.opening)).end()
}

func (l line) block(at int64, h *head) line {
	kind := "data"
	if h.kind == kindCheckpoint {
		kind = "checkpoint"
	}
	return l.begin().number("block", at).word("kind", kind).position("base", uint64(h.base)).number("count", int64(h.count)).
		number("time", h.time).number("wall", h.wall).word("run", h.run.String()).number("seq", int64(h.seq)).
		number("length", int64(h.length)).end()
}

func (l line) record(r *hydrant.Record) line {
	l = l.begin().position("pos", uint64(r.Pos)).number("shard", int64(r.Shard)).number("time", r.Time)
	if r.Partial {
		l = append(l.key("partial"), "true"...)
	}
	if r.Key != nil {
		l = l.text("key", r.Key)
	}
	if r.Origin != nil {
		l = l.identity("origin", *r.Origin)
	}
	if len(r.Attrs) > 0 {
		l = l.pairs("attrs", r.Attrs)
	}
	return l.text("data", r.Data).end()
}

// note adds a note by its fields. One that cannot be read, or that this version does not know, is added as it is.
func (l line) note(n Note) line {
	l = l.begin().number("note", int64(n.Type)).number("flags", int64(n.Flags))
	whole, err := l.noteFields(n)
	if err != nil {
		whole = l.base64("body", n.Body)
	}
	return whole.end()
}

func (l line) noteFields(n Note) (line, error) {
	switch n.Type {
	case NoteSource:
		p, err := ParseSourcePosition(n.Body)
		return l.text("source", []byte(p.Source)).text("key", []byte(p.Key)).text("position", p.Position), err
	case NoteInvocation:
		v, err := ParseInvocation(n.Body)
		l = l.hex("hash", v.Key[:]).hex("digest", v.Digest[:]).number("time", v.Time).position("first", uint64(v.First)).
			number("count", int64(v.Count))
		if v.Spread != nil {
			l = l.numbers("offsets", v.Spread)
		}
		return l, err
	case NoteShardOpened:
		o, err := ParseShardOpened(n.Body)
		return l.number("shard", int64(o.ID)).hex("lo", o.Lo[:]).hex("hi", o.Hi[:]).number("created", o.Created).
			numbers("parents", o.Parents), err
	case NoteShardClosed:
		c, err := ParseShardClosed(n.Body)
		return l.number("shard", int64(c.ID)).number("time", c.Time).position("end", uint64(c.End)), err
	case NoteReplay:
		p, err := ParseReplayProgress(n.Body)
		return l.text("name", []byte(p.Name)).identity("last", p.Last).text("state", p.State), err
	case NoteAttributes:
		pairs, sets, err := parseInterned(n.Body)
		l = append(l.pairs("pairs", pairs).key("sets"), '[')
		for _, set := range sets {
			l = l.comma().list(set)
		}
		return append(l, ']'), err
	case NoteSums:
		s, err := ParseLedgerSums(n.Body)
		return l.totals("appended", s.Appended).totals("damaged", s.Damaged), err
	case NoteDedupeFrom:
		d, err := ParseDedupeFrom(n.Body)
		return l.position("position", uint64(d.Position)), err
	}
	return l.base64("body", n.Body), nil
}
