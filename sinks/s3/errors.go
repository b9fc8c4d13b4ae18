package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/hydrantd/hydrant/sinks"
)

func is[T error](err error) bool {
	var t T
	return errors.As(err, &t)
}

// status is the HTTP status of the answer that an error reports; 0 when there was no answer, or no error.
func status(err error) int {
	var r *smithyhttp.ResponseError
	if err != nil && errors.As(err, &r) && r.Response != nil && r.Response.Response != nil {
		return r.HTTPStatusCode()
	}
	return 0
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// noSuchUpload goes by the code: the SDK knows the error as a type for some operations only.
func noSuchUpload(err error) bool { return code(err) == "NoSuchUpload" }

// definite tells whether an error is an answer that says no: the request changed nothing and never will.
func definite(err error) bool {
	st := status(err)
	return st >= 300 && st < 500 && st != http.StatusRequestTimeout || st == http.StatusNotImplemented
}

// declines tells whether an error may be a store's answer to a condition that it does not know.
func declines(err error) bool {
	switch status(err) {
	case http.StatusNotImplemented:
		return true
	case http.StatusBadRequest:
		switch code(err) {
		case "InvalidArgument", "InvalidRequest", "NotImplemented", "BadRequest", "UnknownError", "":
			return true
		}
	}
	return false
}

// explain turns an error of a request for o into one of the three classes, with a remedy where only the operator can help.
func (s *store) explain(err error, o sinks.Output) error {
	var known *sinks.OperatorError
	if err == nil || errors.As(err, &known) {
		return err
	}
	st := status(err)
	told := error(&requestError{o.Target, o.Name, st, err})
	if remedy := s.remedy(err, st, o); remedy != "" {
		s.who.forget() // perhaps it is the credentials, and they have been mended since they were read
		told = s.operator(told, remedy, o)
	}
	if definite(err) || neverSent(err) {
		told = sinks.Unsent(told)
	}
	return told
}

// operator makes err the operator's. A Ready batch keeps the bucket that it was made for: when the configuration names
// another by now, correcting it does not help, and the remedy says what does.
func (s *store) operator(err error, remedy string, o sinks.Output) error {
	if o.Target != s.cfg.Bucket {
		remedy = sinks.Moved(remedy, "bucket "+o.Target, s.name)
	}
	return sinks.Operator(err, remedy)
}

// requestError says where a request failed, in fewer words than the SDK.
type requestError struct {
	bucket, key string
	status      int
	err         error
}

func (e *requestError) Unwrap() error { return e.err }

func (e *requestError) Error() string {
	where := "s3://" + e.bucket + "/" + e.key + ": "
	var api smithy.APIError
	if !errors.As(e.err, &api) {
		var op *smithy.OperationError
		if !errors.As(e.err, &op) {
			return where + e.err.Error()
		}
		where += op.OperationName + ": "
		var sent *url.Error
		if errors.As(op.Err, &sent) {
			return where + sent.Err.Error() // without the URL, which says nothing new
		}
		return where + op.Err.Error()
	}
	text := api.ErrorCode()
	if m := api.ErrorMessage(); m != "" && m != text {
		text += ": " + m
	}
	return fmt.Sprintf("%s%d %s", where, e.status, text)
}

// neverSent tells whether an error came before the request: no connection, or nobody to sign for.
func neverSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial" || is[noCredentialsError](err) || badCertificate(err)
}

func unknownHost(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

func badCertificate(err error) bool {
	return is[*tls.CertificateVerificationError](err) || is[x509.UnknownAuthorityError](err) || is[x509.HostnameError](err)
}

// credentials says which ones are meant, without any secret.
func (s *store) credentials() string {
	a := s.cfg.Auth
	text := "those that the chain of the AWS SDK finds"
	switch {
	case a.AccessKeyID != "":
		text = "access key id " + a.AccessKeyID
	case a.Profile != "":
		text = "profile " + a.Profile
	}
	if a.AssumeRole.RoleARN != "" {
		text += " for role " + a.AssumeRole.RoleARN
	}
	return text
}

// remedy is what the operator can do about an error; "" when it may pass by itself.
func (s *store) remedy(err error, st int, o sinks.Output) string {
	switch {
	case errors.Is(err, context.Canceled):
		return ""
	case is[noCredentialsError](err):
		return "check the credentials: " + s.credentials() + " cannot be had"
	case unknownHost(err):
		return "check endpoint: and region:, or the name service of this machine: the host of " + s.where + " is not known to it"
	case badCertificate(err):
		return "trust the certificate of " + s.where + ": name its authority in ca_file, or mend the certificate"
	case errors.Is(err, http.ErrSchemeMismatch):
		return "write the endpoint with http:// in front: the store there speaks no TLS"
	}
	c := code(err)
	if strings.HasPrefix(c, "KMS.") || strings.Contains(c, "KMS") {
		return "check the KMS key " + s.cfg.SSE.KMSKeyID + ": it must be enabled, in the bucket's region, and usable by " + s.credentials()
	}
	switch c {
	case "NoSuchUpload":
		return ""
	case "InvalidAccessKeyId", "XAdminUserNotFound", "InvalidToken", "InvalidClientTokenId", "TokenRefreshRequired":
		return "check the credentials: " + s.credentials() + " are unknown to the store"
	case "SignatureDoesNotMatch":
		return "check the credentials: the secret of " + s.credentials() + " is not the right one"
	case "ExpiredToken", "ExpiredTokenException", "RequestExpired":
		return "check the credentials: the session token of " + s.credentials() + " has expired; renew it"
	case "RequestTimeTooSkewed":
		return "set this machine's clock: it differs too much from the store's"
	case "NoSuchBucket":
		if o.Target != s.cfg.Bucket {
			return "create bucket " + o.Target + " in " + s.where
		}
		return "create bucket " + o.Target + " in " + s.where + ", or correct bucket:"
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "MovedPermanently":
		return s.wrongRegion(err, o)
	case "InvalidStorageClass":
		return "correct storage_class: the store does not know " + s.cfg.StorageClass
	case "AccessControlListNotSupported":
		return "leave out acl: bucket " + o.Target + " has ACLs switched off"
	case "InvalidTag":
		return "correct tags: the store does not take them"
	case "AccountProblem", "AllAccessDisabled", "NotSignedUp", "InvalidPayer", "SubscriptionRequired", "InvalidObjectState", "MethodNotAllowed", "QuotaExceeded":
		return "see to the account or the bucket " + o.Target + ": the store answers " + c
	}
	switch st {
	case http.StatusForbidden, http.StatusUnauthorized:
		return "check the credentials: " + s.credentials() + " must be allowed s3:PutObject, s3:AbortMultipartUpload and s3:GetObject on s3://" + o.Target + "/*" + s.extraRights()
	case http.StatusNotFound:
		if o.Target != s.cfg.Bucket {
			return "check endpoint: " + s.where + " answers as if there were no such store"
		}
		return "check endpoint: and bucket: at " + s.where + ", which answers as if there were no such store"
	case http.StatusMovedPermanently:
		return s.wrongRegion(err, o)
	}
	return ""
}

// extraRights are the rights that the configuration makes necessary besides.
func (s *store) extraRights() string {
	text := ""
	if len(s.cfg.Tags) > 0 {
		text += ", for tags s3:PutObjectTagging"
	}
	if s.cfg.ACL != "" {
		text += ", for acl s3:PutObjectAcl"
	}
	if s.cfg.SSE.KMSKeyID != "" {
		text += ", for sse kms:GenerateDataKey and kms:Decrypt on " + s.cfg.SSE.KMSKeyID
	}
	return text
}

// wrongRegion is the remedy for a region that is not the bucket's, with the right one if the store names it.
func (s *store) wrongRegion(err error, o sinks.Output) string {
	remedy := "correct region: it is "
	if o.Target != s.cfg.Bucket {
		remedy = "the configured region is "
	}
	remedy += strconv.Quote(s.region) + ", and bucket " + o.Target + " is in "
	named := regionOf(err)
	if named == "" || named == s.region {
		remedy += "another region"
	} else {
		remedy += strconv.Quote(named)
	}
	if s.cfg.Endpoint != "" {
		remedy += ", says " + s.where
	}
	return remedy
}
