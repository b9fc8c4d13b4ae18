package s3

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/hydrantd/hydrant/sinks"
)

// upload is a multipart upload that this process began. A further attempt of the same process goes on with it; after
// a restart the upload is aborted, and the object sent from its beginning.
type upload struct {
	id    string
	parts []types.CompletedPart // those that have arrived, from the first on
	stuck int                   // attempts in a row that brought no part across
}

// mostStuck is after how many such attempts an upload is begun anew. A store that no longer knows the upload says so
// before it has read the part, and the connection can be gone before that answer is seen.
const mostStuck = 2

// partSize keeps a file below S3's 10,000 parts.
func partSize(size int64) int64 { return max(8<<20, (size+8999)/9000) }

// multipart sends an object in parts, one after the other: nothing of it is held in memory.
func (s *store) multipart(ctx context.Context, sh *sinks.Shipment, o sinks.Output, n note, content io.ReaderAt) error {
	u := s.takeUpload(o)
	if u == nil {
		done, err := s.dropOld(ctx, o, &n)
		if err != nil || done {
			return s.explain(err, o)
		}
		if u, err = s.begin(ctx, sh, o, &n); err != nil {
			return sinks.Unsent(s.explain(err, o)) // nothing can come of an upload that is not completed
		}
	}
	for at := int64(len(u.parts)) * partSize(o.Size); at < o.Size; at += partSize(o.Size) {
		if err := s.sendPart(ctx, o, u, content, at); err != nil {
			if u.stuck++; status(err) != http.StatusNotFound && (u.stuck < mostStuck || !s.abandon(ctx, o, u)) {
				s.keepUpload(o, u)
			}
			return sinks.Unsent(s.explain(err, o))
		}
	}
	return s.finish(ctx, sh, o, n, u)
}

// dropOld aborts the upload that an earlier process left for o. Done: it had been completed after all.
func (s *store) dropOld(ctx context.Context, o sinks.Output, n *note) (done bool, err error) {
	if n.Upload == "" {
		return false, nil
	}
	gone, err := s.abort(ctx, n.Bucket, n.Key, n.Upload)
	if err != nil || !gone {
		return false, err
	}
	// It is neither there nor aborted by us: completed, or aborted in an earlier attempt.
	found, err := s.look(ctx, o)
	if status(err) == http.StatusForbidden {
		return false, nil // we may not look; if it is there, the new one meets it
	}
	return err == nil && found == ours, err
}

// abort gives up an upload of ours. Gone: there is no such upload any more.
func (s *store) abort(ctx context.Context, bucket, key, id string) (gone bool, err error) {
	_, err = s.client.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{Bucket: &bucket, Key: &key, UploadId: &id}, s.within(0))
	if noSuchUpload(err) {
		return true, nil
	}
	return false, err
}

// abandon tells whether u is certainly under way no more.
func (s *store) abandon(ctx context.Context, o sinks.Output, u *upload) bool {
	_, err := s.abort(ctx, o.Target, o.Name, u.id)
	return err == nil
}

// begin starts an upload and remembers it before anything is sent, so that it can be aborted after a crash.
func (s *store) begin(ctx context.Context, sh *sinks.Shipment, o sinks.Output, n *note) (*upload, error) {
	in := &awss3.CreateMultipartUploadInput{
		Bucket:               &o.Target,
		Key:                  &o.Name,
		ContentType:          aws.String("application/octet-stream"),
		ContentEncoding:      asked(o.Encoding),
		Metadata:             metadata(o.CRC),
		ServerSideEncryption: s.encryption(),
		SSEKMSKeyId:          asked(s.cfg.SSE.KMSKeyID),
		StorageClass:         types.StorageClass(s.cfg.StorageClass),
		ACL:                  types.ObjectCannedACL(s.cfg.ACL),
		Tagging:              s.tagging(),
	}
	if s.cfg.checksums() {
		in.ChecksumAlgorithm, in.ChecksumType = types.ChecksumAlgorithmCrc32c, types.ChecksumTypeFullObject
	}
	out, err := s.client.CreateMultipartUpload(ctx, in, s.within(0))
	if err != nil {
		return nil, err
	}
	u := &upload{id: aws.ToString(out.UploadId)}
	n.Upload, n.Bucket, n.Key = u.id, o.Target, o.Name
	if err := save(sh, *n); err != nil {
		_, _ = s.abort(ctx, o.Target, o.Name, u.id) // nobody will remember it
		return nil, err
	}
	return u, nil
}

// sendPart sends the part that begins at at.
func (s *store) sendPart(ctx context.Context, o sinks.Output, u *upload, content io.ReaderAt, at int64) error {
	body := io.NewSectionReader(content, at, min(partSize(o.Size), o.Size-at))
	size := body.Size()
	number := int32(len(u.parts) + 1)
	var sum *string
	if s.cfg.checksums() {
		crc, err := crcOf(body)
		if err != nil {
			return err
		}
		sum = s.checksum(crc)
	}
	out, err := s.client.UploadPart(ctx, &awss3.UploadPartInput{
		Bucket: &o.Target, Key: &o.Name, UploadId: &u.id, PartNumber: &number,
		Body: body, ContentLength: &size, ChecksumCRC32C: sum,
	}, s.within(size), unsigned)
	if err != nil {
		return err
	}
	u.parts, u.stuck = append(u.parts, types.CompletedPart{ETag: out.ETag, PartNumber: &number, ChecksumCRC32C: sum}), 0
	return nil
}

// finish makes the object of its parts.
func (s *store) finish(ctx context.Context, sh *sinks.Shipment, o sinks.Output, n note, u *upload) error {
	condition := s.ifNoneMatch(n)
	err := s.complete(ctx, o, u, condition)
	if condition != nil && s.known() == unknown && declines(err) {
		s.learn(declined)
		if err = s.complete(ctx, o, u, nil); err != nil && definite(err) {
			s.learn(unknown)
		}
	}
	switch {
	case err == nil:
		return nil
	case status(err) == http.StatusPreconditionFailed:
		s.learn(heeded)
		if _, err := s.abort(ctx, o.Target, o.Name, u.id); err != nil {
			s.keepUpload(o, u)
			return s.explain(err, o)
		}
		return s.taken(ctx, sh, o, n)
	case noSuchUpload(err):
		// An earlier Complete whose answer was lost has done it, or somebody has cleaned up.
		found, herr := s.look(ctx, o)
		if herr == nil && found == ours {
			return nil
		}
		if herr != nil && status(herr) != http.StatusForbidden { // if we may not look, a new upload finds out
			return s.explain(herr, o)
		}
	case definite(err): // a conflict, or parts that do not fit: from the beginning, then
		if !s.abandon(ctx, o, u) {
			s.keepUpload(o, u)
		}
	default:
		s.keepUpload(o, u)
	}
	return s.explain(err, o)
}

func (s *store) complete(ctx context.Context, o sinks.Output, u *upload, condition *string) error {
	in := &awss3.CompleteMultipartUploadInput{
		Bucket: &o.Target, Key: &o.Name, UploadId: &u.id, IfNoneMatch: condition,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts},
	}
	if s.cfg.checksums() {
		in.ChecksumCRC32C, in.ChecksumType, in.MpuObjectSize = s.checksum(o.CRC), types.ChecksumTypeFullObject, &o.Size
	}
	_, err := s.client.CompleteMultipartUpload(ctx, in, s.within(o.Size))
	return err
}

// takeUpload takes what this process has begun for o, if anything. It is the taker's alone until it is kept again.
func (s *store) takeUpload(o sinks.Output) *upload {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := o.Target + "/" + o.Name
	u := s.uploads[key]
	delete(s.uploads, key)
	return u
}

func (s *store) keepUpload(o sinks.Output, u *upload) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uploads[o.Target+"/"+o.Name] = u
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crcOf reads body to its end and back to its beginning.
func crcOf(body *io.SectionReader) (uint32, error) {
	sum := crc32.New(castagnoli)
	if _, err := io.Copy(sum, body); err != nil {
		return 0, err
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return 0, fmt.Errorf("rewind: %w", err)
	}
	return sum.Sum32(), nil
}
