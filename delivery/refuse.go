package delivery

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/sinks"
)

// suffix tells the shipments of one batch apart: the records, and the error output of each stage.
type suffix uint8

const (
	toTarget suffix = iota
	transformFailed
	encodeFailed
	deliveryFailed
	suffixes
)

var stages = [suffixes]string{"", "transform", "encode", "delivery"}

// String is what sinks see as Batch.Suffix.
func (s suffix) String() string {
	if s == toTarget {
		return ""
	}
	return "-" + stages[s] + "-failed"
}

// prefix keeps the files of one shipment apart from the others of its batch.
func (s suffix) prefix() string {
	if s == toTarget {
		return "records."
	}
	return stages[s] + "-failed."
}

// suffixOf tells which shipment a spooled file belongs to.
func suffixOf(file string) suffix {
	for s := transformFailed; s < suffixes; s++ {
		if strings.HasPrefix(file, s.prefix()) {
			return s
		}
	}
	return toTarget
}

// errorFile collects the error records of one stage of one batch.
type errorFile struct {
	suffix  suffix
	encoder sinks.Encoder
	buf     []byte
}

// openErrors begins the error output of a stage.
func (d *Delivery) openErrors(b sinks.Batch, s suffix, f *folder) (*errorFile, error) {
	b.Suffix = s.String()
	enc, err := d.o.Errors.Encoder(b, part{f, s.prefix()})
	if err != nil {
		return nil, err
	}
	return &errorFile{suffix: s, encoder: enc}, nil
}

// finish ends the output and names it.
func (e *errorFile) finish(to hydrant.Position) ([]output, error) {
	named, err := e.encoder.Finish(to)
	return outputsOf(roleErrors, e.suffix, named), err
}

func outputsOf(r role, s suffix, named []sinks.Output) []output {
	var outputs []output
	for _, o := range named {
		o.File = s.prefix() + o.File
		outputs = append(outputs, output{r, o})
	}
	return outputs
}

// refused is one record on its way to the error output.
type refused struct {
	why      sinks.Refusal
	attempts int
	ended    int64 // of the last attempt, Unix ms
	sub      uint32
}

// add writes the error record of r.
func (e *errorFile) add(b sinks.Batch, r *hydrant.Record, v refused) error {
	e.buf = appendErrorRecord(e.buf[:0], b, r, stages[e.suffix], v)
	line := *r
	line.Key, line.Sub, line.Data, line.Partial = nil, v.sub, e.buf, false
	return e.encoder.Add(&line)
}

// appendErrorRecord appends one JSON object: Firehose's fields first, then ours.
func appendErrorRecord(b []byte, in sinks.Batch, r *hydrant.Record, stage string, v refused) []byte {
	id := hydrant.Identity{Log: in.Log, Run: in.Run, Pos: r.Pos}
	if r.Origin != nil {
		id = *r.Origin
	}
	b = append(b, `{"attemptsMade":`...)
	b = strconv.AppendInt(b, int64(v.attempts), 10)
	b = append(b, `,"arrivalTimestamp":`...)
	b = strconv.AppendInt(b, r.Time, 10)
	b = append(b, `,"attemptEndingTimestamp":`...)
	b = strconv.AppendInt(b, v.ended, 10)
	b = appendField(b, "errorCode", v.why.Code)
	b = appendField(b, "errorMessage", v.why.Message)
	b = append(b, `,"rawData":"`...)
	b = base64.StdEncoding.AppendEncode(b, r.Data)
	b = append(b, '"')
	b = appendField(b, "pipeline", in.Pipeline)
	b = appendField(b, "destination", in.Destination)
	b = appendField(b, "stage", stage)
	b = appendField(b, "log", id.Log.String())
	b = appendField(b, "run", id.Run.String())
	b = append(b, `,"position":`...)
	b = strconv.AppendUint(b, uint64(id.Pos), 10)
	b = append(b, `,"sub":`...)
	b = strconv.AppendUint(b, uint64(max(v.sub, id.Sub)), 10)
	b = append(b, `,"shard":`...)
	b = strconv.AppendUint(b, uint64(r.Shard), 10)
	if len(r.Attrs) > 0 {
		b = append(b, `,"attributes":{`...)
		for i, a := range r.Attrs {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendQuoted(b, a.Name), ':')
			b = appendQuoted(b, a.Value)
		}
		b = append(b, '}')
	}
	return append(b, '}')
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, ',')
	b = append(appendQuoted(b, name), ':')
	return appendQuoted(b, value)
}

// appendQuoted appends s as a JSON string; bytes that are not UTF-8 become U+FFFD.
func appendQuoted(b []byte, s string) []byte {
	q, err := json.Marshal(s)
	if err != nil {
		panic("BUG: a string that is not JSON: " + err.Error())
	}
	return append(b, q...)
}
