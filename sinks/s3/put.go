package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/hydrantd/hydrant/sinks"
)

// single sends an object in one request.
func (s *store) single(ctx context.Context, sh *sinks.Shipment, o sinks.Output, n note, content io.ReaderAt) error {
	condition := s.ifNoneMatch(n)
	err := s.put(ctx, o, content, condition)
	if condition != nil && s.known() == unknown && declines(err) {
		err = s.putWithout(ctx, o, content)
	}
	switch {
	case err == nil:
		if condition != nil {
			s.probe(ctx, o, content)
		}
		return nil
	case status(err) == http.StatusPreconditionFailed:
		s.learn(heeded)
		return s.taken(ctx, sh, o, n)
	}
	return s.explain(err, o)
}

// put sends the bytes of o under its name.
func (s *store) put(ctx context.Context, o sinks.Output, content io.ReaderAt, condition *string) error {
	_, err := s.client.PutObject(ctx, &awss3.PutObjectInput{
		Bucket:               &o.Target,
		Key:                  &o.Name,
		Body:                 io.NewSectionReader(content, 0, o.Size),
		ContentLength:        &o.Size,
		ContentType:          aws.String("application/octet-stream"),
		ContentEncoding:      asked(o.Encoding),
		IfNoneMatch:          condition,
		ChecksumCRC32C:       s.checksum(o.CRC),
		Metadata:             metadata(o.CRC),
		ServerSideEncryption: s.encryption(),
		SSEKMSKeyId:          asked(s.cfg.SSE.KMSKeyID),
		StorageClass:         types.StorageClass(s.cfg.StorageClass),
		ACL:                  types.ObjectCannedACL(s.cfg.ACL),
		Tagging:              s.tagging(),
	}, s.within(o.Size), unsigned)
	return err
}

// putWithout sends o without a condition, to a store that seems to decline it. While this is under way, and if its
// outcome stays unknown, the store counts as one without conditions: Resolve must not trust them then.
func (s *store) putWithout(ctx context.Context, o sinks.Output, content io.ReaderAt) error {
	s.learn(declined)
	err := s.put(ctx, o, content, nil)
	if err != nil && definite(err) {
		s.learn(unknown) // it was something else that was wrong
	}
	return err
}

// probe finds out, once in a process, what the store does with a condition: the first object that went through is sent
// again, the same bytes under the same name. Whatever comes of it, the object is there.
func (s *store) probe(ctx context.Context, o sinks.Output, content io.ReaderAt) {
	if s.known() != unknown {
		return
	}
	switch err := s.put(ctx, o, content, aws.String("*")); {
	case err == nil:
		s.learn(ignored)
	case status(err) == http.StatusPreconditionFailed:
		s.learn(heeded)
	}
}

// taken decides what a 412 means: something is under the name, which carries log, run and span (I9), so it is this batch.
// It is looked at all the same, as far as the store lets us.
func (s *store) taken(ctx context.Context, sh *sinks.Shipment, o sinks.Output, n note) error {
	found, err := s.look(ctx, o)
	switch {
	case err != nil && (status(err) == http.StatusForbidden || status(err) == http.StatusUnauthorized) && !n.Barred:
		return nil // we may write and not read
	case err != nil:
		return s.explain(err, o)
	case found == ours:
		return nil
	case found == absent:
		// No proof of anything: somebody answers 412 for reasons of his own, or has taken the object away in this moment. Putting
		// it once more, if it is absent, is harmless.
		return sinks.Unsent(fmt.Errorf("s3://%s/%s: the store says that it is there, and then that it is not", o.Target, o.Name))
	case found == bar:
		// A Resolve was cut off before its outcome was durable: the batch goes here after all. From now on an attempt
		// can land without a condition, which the next Resolve has to know.
		n.Loose = true
		if err := save(sh, n); err != nil {
			return err
		}
		return sinks.Unsent(fmt.Errorf("s3://%s/%s: an empty object of ours is in the way; it is replaced next", o.Target, o.Name))
	}
	return sinks.Unsent(s.occupied(o))
}

// occupied is the error of an object that is not ours under the name of o.
func (s *store) occupied(o sinks.Output) error {
	at := "s3://" + o.Target + "/" + o.Name
	return s.operator(fmt.Errorf("%s: there are other bytes under this name", at), "remove the object "+at+" or move it away: hydrant did not write it so", o)
}

// What can be under a name.
type finding uint8

const (
	absent finding = iota
	ours           // the object, to the byte as far as length and checksum tell
	bar            // the empty object that Resolve leaves
	other
)

// look asks what is under the name of o.
func (s *store) look(ctx context.Context, o sinks.Output) (finding, error) {
	head, err := s.client.HeadObject(ctx, &awss3.HeadObjectInput{Bucket: &o.Target, Key: &o.Name}, s.within(0))
	switch {
	case status(err) == http.StatusNotFound && !errors.As(err, new(*types.NoSuchBucket)):
		return absent, nil
	case err != nil:
		return absent, err
	case matches(head, o):
		return ours, nil
	case matches(head, barOf(o)):
		return bar, nil
	}
	return other, nil
}

// matches compares length and checksum. A store may have dropped our metadata: then the length has to do, under a name
// that nobody else gives.
func matches(head *awss3.HeadObjectOutput, o sinks.Output) bool {
	crc, kept := head.Metadata[crcKey]
	return aws.ToInt64(head.ContentLength) == o.Size && (!kept || crc == metadata(o.CRC)[crcKey])
}
