package serve

import (
	"bytes"
	"encoding/json"
)

// Output is what an execution gives back.
type Output struct {
	Data any
	// Raw, when not nil, goes out as the data byte for byte, whether it is JSON or not.
	Raw      []byte
	Warnings []string
	Metadata map[string]any
	// Streamed says that the user has seen the output already.
	Streamed bool
}

// encode writes the record of contract spec 2.6: `data` always, the rest when there is something.
func (o *Output) encode() ([]byte, error) {
	if o == nil {
		return []byte("null"), nil
	}
	data := o.Raw
	if data == nil {
		var err error
		if data, err = json.Marshal(o.Data); err != nil {
			return nil, err
		}
	}
	rest, err := json.Marshal(struct {
		Warnings []string       `json:"warnings,omitempty"`
		Metadata map[string]any `json:"metadata,omitempty"`
		Streamed bool           `json:"streamed,omitempty"`
	}{o.Warnings, o.Metadata, o.Streamed})
	if err != nil {
		return nil, err
	}
	// Put together by hand: the encoder would check and compact what Raw has to carry untouched.
	var text bytes.Buffer
	text.WriteString(`{"data":`)
	text.Write(data)
	if len(rest) > len("{}") {
		text.WriteByte(',')
	}
	text.Write(rest[1:])
	return text.Bytes(), nil
}
