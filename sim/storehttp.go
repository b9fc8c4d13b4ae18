package sim

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// serve carries one request out, at once and whole: the calls of S3's REST API that hydrant makes, path style.
func (s *Store) serve(r *http.Request, body []byte) *http.Response {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	q := r.URL.Query()
	switch s.Denied {
	case "NoSuchBucket":
		return answer(r, 404, apiError(s.Denied))
	case "ExpiredToken":
		return answer(r, 400, apiError(s.Denied))
	case "":
	default:
		return answer(r, 403, apiError(s.Denied))
	}
	if strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		plain, trailer, err := unchunk(body)
		if err != nil {
			return answer(r, 400, apiError("IncompleteBody"))
		}
		body = plain
		for name, value := range trailer {
			r.Header.Set(name, value)
		}
	}
	absent := r.Header.Get("If-None-Match") == "*"
	if absent && s.Absent == Rejects {
		return answer(r, 501, apiError("NotImplemented"))
	}
	absent = absent && s.Absent == Honours
	switch {
	case r.Method == http.MethodPut && q.Has("uploadId"):
		return s.putPart(r, body)
	case r.Method == http.MethodPut:
		return s.putObject(r, bucket, key, body, absent)
	case r.Method == http.MethodPost && q.Has("uploads"):
		s.ids++
		id := fmt.Sprintf("upload-%d", s.ids)
		s.uploads[id] = &upload{bucket: bucket, key: key, header: r.Header.Clone(), parts: map[int]part{}}
		return answer(r, 200, "<InitiateMultipartUploadResult><Bucket>"+bucket+"</Bucket><Key>"+key+"</Key><UploadId>"+id+"</UploadId></InitiateMultipartUploadResult>")
	case r.Method == http.MethodPost && q.Has("uploadId"):
		return s.complete(r, body, absent)
	case r.Method == http.MethodDelete && q.Has("uploadId"):
		if s.uploads[q.Get("uploadId")] == nil {
			return answer(r, 404, apiError("NoSuchUpload"))
		}
		delete(s.uploads, q.Get("uploadId"))
		return answer(r, 204, "")
	case r.Method == http.MethodHead || r.Method == http.MethodGet:
		return s.get(r, bucket, key)
	}
	return answer(r, 405, apiError("MethodNotAllowed"))
}

func (s *Store) putObject(r *http.Request, bucket, key string, body []byte, absent bool) *http.Response {
	sum, ok := checked(r, body)
	if !ok {
		return answer(r, 400, apiError("BadDigest"))
	}
	status, text := s.put(&Object{Bucket: bucket, Key: key, Data: body, Header: r.Header.Clone(), Sum: sum}, absent)
	resp := answer(r, status, text)
	resp.Header.Set("ETag", etag(body))
	echo(resp, sum)
	return resp
}

func (s *Store) putPart(r *http.Request, body []byte) *http.Response {
	u := s.uploads[r.URL.Query().Get("uploadId")]
	n, err := strconv.Atoi(r.URL.Query().Get("partNumber"))
	if u == nil || err != nil {
		return answer(r, 404, apiError("NoSuchUpload"))
	}
	sum, ok := checked(r, body)
	if !ok {
		return answer(r, 400, apiError("BadDigest"))
	}
	_, value, _ := strings.Cut(sum, " ")
	raw, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return answer(r, 400, apiError("InvalidRequest"))
	}
	u.parts[n] = part{body, raw}
	resp := answer(r, 200, "")
	resp.Header.Set("ETag", etag(body))
	echo(resp, sum)
	return resp
}

func (s *Store) complete(r *http.Request, body []byte, absent bool) *http.Response {
	id := r.URL.Query().Get("uploadId")
	u := s.uploads[id]
	if u == nil {
		return answer(r, 404, apiError("NoSuchUpload"))
	}
	var list struct {
		Part []struct {
			PartNumber int
			ETag       string
		}
	}
	if err := xml.Unmarshal(body, &list); err != nil || len(list.Part) == 0 {
		return answer(r, 400, apiError("MalformedXML"))
	}
	var data, sums []byte
	for i, p := range list.Part {
		have, ok := u.parts[p.PartNumber]
		if !ok || strings.Trim(p.ETag, `"`) != strings.Trim(etag(have.data), `"`) || i > 0 && p.PartNumber <= list.Part[i-1].PartNumber {
			return answer(r, 400, apiError("InvalidPart"))
		}
		data, sums = append(data, have.data...), append(sums, have.sum...)
	}
	algorithm, sum := u.header.Get("X-Amz-Checksum-Algorithm"), ""
	if h := newHash(algorithm); h != nil {
		text := ""
		if u.header.Get("X-Amz-Checksum-Type") == "FULL_OBJECT" {
			h.Write(data)
		} else {
			h.Write(sums)
			text = fmt.Sprintf("-%d", len(list.Part))
		}
		sum = "X-Amz-Checksum-" + algorithm + " " + base64.StdEncoding.EncodeToString(h.Sum(nil)) + text
		if want := r.Header.Get("X-Amz-Checksum-" + algorithm); want != "" && !strings.HasSuffix(sum, " "+want) {
			return answer(r, 400, apiError("BadDigest"))
		}
	}
	status, text := s.put(&Object{Bucket: u.bucket, Key: u.key, Data: data, Header: u.header, Sum: sum}, absent)
	if status == 200 {
		delete(s.uploads, id)
		name, value, _ := strings.Cut(sum, " ")
		name = strings.ReplaceAll(strings.TrimPrefix(name, "X-Amz-"), "-", "")
		text = "<CompleteMultipartUploadResult><Bucket>" + u.bucket + "</Bucket><Key>" + u.key + "</Key><ETag>" + etag(data) + "-1</ETag>"
		if name != "" {
			text += "<" + name + ">" + value + "</" + name + ">"
		}
		text += "</CompleteMultipartUploadResult>"
	}
	return answer(r, status, text)
}

func (s *Store) get(r *http.Request, bucket, key string) *http.Response {
	o := s.Objects[bucket+"/"+key]
	if o == nil {
		if r.Method == http.MethodHead {
			return answer(r, 404, "")
		}
		return answer(r, 404, apiError("NoSuchKey"))
	}
	resp := answer(r, 200, string(o.Data))
	resp.Header.Set("ETag", etag(o.Data))
	for name, values := range o.Header {
		if strings.HasPrefix(name, "X-Amz-Meta-") {
			resp.Header[name] = slices.Clone(values)
		}
	}
	if r.Header.Get("X-Amz-Checksum-Mode") != "" {
		echo(resp, o.Sum)
	}
	if r.Method == http.MethodHead {
		resp.Body = http.NoBody
	}
	return resp
}

// checked compares the body with the checksum that came with it; sum is its header and value, "" if there was none.
func checked(r *http.Request, body []byte) (sum string, ok bool) {
	for _, algorithm := range []string{"CRC32C", "CRC32", "SHA256"} {
		name := "X-Amz-Checksum-" + algorithm
		if want := r.Header.Get(name); want != "" {
			h := newHash(algorithm)
			h.Write(body)
			return name + " " + want, base64.StdEncoding.EncodeToString(h.Sum(nil)) == want
		}
	}
	return "", true
}

func newHash(algorithm string) hash.Hash {
	switch algorithm {
	case "CRC32C":
		return crc32.New(castagnoli)
	case "CRC32":
		return crc32.NewIEEE()
	case "SHA256":
		return sha256.New()
	}
	return nil
}

func echo(resp *http.Response, sum string) {
	if name, value, ok := strings.Cut(sum, " "); ok {
		resp.Header.Set(name, value)
	}
}

func etag(b []byte) string { return fmt.Sprintf(`"%08x%08x"`, crc32.Checksum(b, castagnoli), len(b)) }

// apiError is an error answer; codes are S3's.
func apiError(code string) string {
	return "<Error><Code>" + code + "</Code><Message>" + code + "</Message><RequestId>sim</RequestId></Error>"
}

func answer(r *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Status: fmt.Sprintf("%d %s", status, http.StatusText(status)),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        http.Header{"Content-Type": {"application/xml"}, "X-Amz-Request-Id": {"sim"}, "Content-Length": {strconv.Itoa(len(body))}},
		Body:          io.NopCloser(strings.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       r,
	}
}

// unchunk takes the aws-chunked encoding off a body.
func unchunk(body []byte) (plain []byte, trailer map[string]string, err error) {
	in := bufio.NewReader(bytes.NewReader(body))
	trailer = map[string]string{}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, nil, err
		}
		size, _, _ := strings.Cut(strings.TrimSpace(line), ";")
		n, err := strconv.ParseInt(size, 16, 64)
		if err != nil {
			return nil, nil, err
		}
		if n == 0 {
			break
		}
		chunk := make([]byte, n+2)
		if _, err := io.ReadFull(in, chunk); err != nil {
			return nil, nil, err
		}
		plain = append(plain, chunk[:n]...)
	}
	for {
		line, err := in.ReadString('\n')
		if line = strings.TrimSpace(line); line == "" || err != nil && err != io.EOF {
			return plain, trailer, nil
		}
		if name, value, ok := strings.Cut(line, ":"); ok {
			trailer[name] = strings.TrimSpace(value)
		}
	}
}
