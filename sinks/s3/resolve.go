package s3

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/sinks"
	"github.com/hydrantd/hydrant/sinks/object"
)

// Resolve implements sinks.Sink. An attempt whose answer is missing may still land. So the name is claimed by an empty
// object, put only if nothing is there: the straggler meets it and is refused, or was faster and is found. The empty
// object stays, as a sign that this batch went to the error output. Stores without conditional puts are asked twice,
// two time-outs apart, which is a wait and no proof.
func (s *store) Resolve(ctx context.Context, sh *sinks.Shipment) error {
	there := 0
	for _, o := range sh.Outputs {
		found, err := s.resolve(ctx, sh, o)
		if err != nil {
			return err
		}
		if found {
			there++
		}
	}
	switch there {
	case 0:
		return nil
	case len(sh.Outputs):
		sh.Delivered(0, 0)
		return nil
	}
	return fmt.Errorf("%d of %d objects of the batch are there", there, len(sh.Outputs))
}

func (s *store) resolve(ctx context.Context, sh *sinks.Shipment, o sinks.Output) (bool, error) {
	n, err := readNote(sh.Saved)
	if err != nil {
		return false, err
	}
	s.takeUpload(o) // it is not gone on with
	if n.Upload != "" {
		if _, err := s.abort(ctx, n.Bucket, n.Key, n.Upload); err != nil {
			return false, s.explain(err, o)
		}
	}
	if s.known() != heeded { // an empty object should not replace what has arrived
		found, err := s.look(ctx, o)
		// Amazon answers 403 to those who may not list the bucket when nothing is there. The condition decides, then.
		mayNotLook := status(err) == http.StatusForbidden && s.known() == unknown && !n.Loose
		if !mayNotLook && (err != nil || found == ours || found == other) {
			return found == ours, s.verdict(found, err, o)
		}
	}
	if n.Loose || s.known() == ignored || s.known() == declined {
		return s.outwait(ctx, o)
	}
	n.Barred = true
	if err := save(sh, n); err != nil {
		return false, err
	}
	return s.bar(ctx, o)
}

// bar claims the name with an empty object, and tells whether o itself was there already.
func (s *store) bar(ctx context.Context, o sinks.Output) (bool, error) {
	empty := barOf(o)
	content := bytes.NewReader(object.Empty(o.Name))
	err := s.put(ctx, empty, content, aws.String("*"))
	if err == nil {
		s.probe(ctx, empty, content)
		switch s.known() {
		case heeded:
			return false, nil
		case unknown:
			return false, sinks.Unsent(fmt.Errorf("s3://%s/%s: the store did not say whether it heeds conditions", o.Target, o.Name))
		}
		return s.outwait(ctx, o)
	}
	switch {
	case status(err) == http.StatusPreconditionFailed:
		s.learn(heeded)
		found, err := s.look(ctx, o)
		return found == ours, s.verdict(found, err, o)
	case s.known() == unknown && declines(err):
		return s.outwait(ctx, o)
	}
	return false, s.explain(err, o)
}

// outwait looks, waits until every attempt must have come to its end, and looks again.
func (s *store) outwait(ctx context.Context, o sinks.Output) (bool, error) {
	found, err := s.look(ctx, o)
	if err != nil || found == ours || found == other {
		return found == ours, s.verdict(found, err, o)
	}
	if err := s.clock.Wait(ctx, s.clock.Mono()+2*s.timeout(o.Size)); err != hydrant.ErrDeadline {
		return false, err
	}
	found, err = s.look(ctx, o)
	return found == ours, s.verdict(found, err, o)
}

// verdict is the error of a finding: what is there must be the object, the empty one, or nothing.
func (s *store) verdict(found finding, err error, o sinks.Output) error {
	switch {
	case err != nil && status(err) == http.StatusForbidden:
		return s.operator(s.explain(err, o), "allow s3:GetObject on s3://"+o.Target+"/* and s3:ListBucket on the bucket: before a batch is given up, hydrant must know whether it is there", o)
	case err != nil:
		return s.explain(err, o)
	case found == other:
		return s.occupied(o)
	}
	return nil
}

// barOf is the empty object that bars the name of o.
func barOf(o sinks.Output) sinks.Output {
	b := object.Empty(o.Name)
	return sinks.Output{Target: o.Target, Name: o.Name, Encoding: o.Encoding, Size: int64(len(b)), CRC: crc32.Checksum(b, castagnoli)}
}
