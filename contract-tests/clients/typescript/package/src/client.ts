// Connects to Holdfast with what its contracts promise as defaults.
//
// A call without a deadline gets the one of its contract; one that is safe to repeat is repeated while the service is
// unavailable; and one that changes something is named by a requestId, so that a repeat never does it twice.

import { randomUUID } from "node:crypto";
import {
  create,
  fromBinary,
  getOption,
  toBinary,
  type DescMessage,
  type DescMethod,
  type DescMethodServerStreaming,
  type DescMethodUnary,
  type DescService,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import * as grpc from "@grpc/grpc-js";
import { ErrorInfoSchema, RetryInfoSchema } from "./google/rpc/error_details_pb.js";
import { StatusSchema } from "./google/rpc/status_pb.js";
import { deadline } from "./holdfast/options/v1/options_pb.js";
import config from "./service_config.json" with { type: "json" };

/** The RPCs of a service: a promise of the answer, or the answers of a stream. */
export type Client<S extends DescService> = {
  [M in keyof S["method"]]: S["method"][M] extends DescMethodUnary<infer I, infer O>
    ? (request: MessageInitShape<I>, options?: grpc.CallOptions) => Promise<MessageShape<O>>
    : S["method"][M] extends DescMethodServerStreaming<infer I, infer O>
      ? (request: MessageInitShape<I>, options?: grpc.CallOptions) => AsyncIterable<MessageShape<O>>
      : never;
};

/** Calls a service at https://host:port with these or the usual certificates, or at http://host:port in plain text. */
export function connect<S extends DescService>(
  service: S,
  address: string,
  token: string,
  certificates = grpc.credentials.createSsl(),
): Client<S> & { close(): void } {
  const { protocol, host } = new URL(address);
  if (protocol !== "https:" && protocol !== "http:") {
    throw new TypeError(`${address} begins neither with https:// nor with http://`);
  }
  const credentials = protocol === "https:" ? certificates : grpc.credentials.createInsecure();
  const connection = new grpc.Client(host, credentials, {
    "grpc.service_config": JSON.stringify(config),
    "grpc.service_config_disable_resolution": 1,
  });
  const metadata = new grpc.Metadata();
  metadata.set("authorization", `Bearer ${token}`);
  const calls = service.methods.map((method) => [method.localName, caller(connection, metadata, method)]);
  return { ...Object.fromEntries(calls), close: () => connection.close() };
}

/** What the service tells about its refusal, e.g. google.rpc.BadRequest; undefined if it does not. */
export function detail<D extends DescMessage>(error: unknown, schema: D): MessageShape<D> | undefined {
  const packed = (error as Partial<grpc.ServiceError>).metadata?.get("grpc-status-details-bin")[0];
  const details = packed instanceof Buffer ? fromBinary(StatusSchema, packed).details : [];
  return details.map((each) => anyUnpack(each, schema)).find((found) => found !== undefined);
}

/** The stable name of the refusal, e.g. NO_AVAILABILITY; empty where no service has answered. */
export function reason(error: unknown): string {
  return detail(error, ErrorInfoSchema)?.reason ?? "";
}

/** After how many milliseconds coming back may help; undefined if the service does not say. */
export function retryDelayMs(error: unknown): number | undefined {
  const delay = detail(error, RetryInfoSchema)?.retryDelay;
  return delay && Number(delay.seconds) * 1000 + delay.nanos / 1e6;
}

type Request = MessageInitShape<DescMessage> & { requestId?: string };

function caller(connection: grpc.Client, metadata: grpc.Metadata, method: DescMethod) {
  const path = `/${method.parent.typeName}/${method.name}`;
  const encode = (request: Request) => Buffer.from(toBinary(method.input, create(method.input, request)));
  const decode = (bytes: Buffer) => fromBinary(method.output, bytes);
  if (method.methodKind !== "unary") {
    return (request: Request, options: grpc.CallOptions = {}) =>
      connection.makeServerStreamRequest(path, encode, decode, request, metadata, options);
  }
  return (request: Request, options: grpc.CallOptions = {}) => {
    // Written into the caller's own object: sending that again is a repeat, too.
    if ("requestId" in method.input.field && !request.requestId) request.requestId = randomUUID();
    const within = { deadline: Date.now() + getOption(method, deadline).defaultMs, ...options };
    return new Promise((resolve, reject) => {
      connection.makeUnaryRequest(path, encode, decode, request, metadata, within, (error, answer) =>
        error ? reject(error) : resolve(answer),
      );
    });
  };
}
