// Server-sent events over fetch: the token travels in a header, which EventSource cannot send.

export interface StreamEvent {
  event: string;
  data: string;
}

/** Cuts a stream of text into events; a chunk may end anywhere. */
export class EventParser {
  private rest = "";

  push(text: string): StreamEvent[] {
    this.rest += text;
    const blocks = this.rest.split("\n\n");
    this.rest = blocks.pop() ?? "";
    return blocks.map(parse).filter((event) => event !== null);
  }
}

function parse(block: string): StreamEvent | null {
  let event = "message";
  const data: string[] = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) event = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
  }
  return data.length ? { event, data: data.join("\n") } : null;
}

/** Reads events until the stream ends; what one chunk brought comes together. */
export async function readEvents(
  response: Response,
  handle: (events: StreamEvent[]) => void,
): Promise<void> {
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const parser = new EventParser();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = parser.push(value);
    if (events.length) handle(events);
  }
}
