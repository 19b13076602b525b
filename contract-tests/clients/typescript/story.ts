// Tells the README's story with the generated client: books a stay, loses an answer, meets an outage, cancels.
//
// Environment: HOLDFAST_<SERVICE>_URL of each service, HOST_TOKEN and CUSTOMER_TOKEN. A line that begins with "? " on
// standard output asks for a misfortune; a line on standard input says that it has come about. Any surprise ends the
// program with exit code 1.

import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { create, equals, type DescService } from "@bufbuild/protobuf";
import { status, type CallOptions, type ServiceError } from "@grpc/grpc-js";
import { connect, detail, reason, retryDelayMs, type Client } from "@holdfast/client";
import { BadRequestSchema } from "@holdfast/client/google/rpc/error_details_pb";
import { Listing_Kind, ListingService } from "@holdfast/client/holdfast/listing/v1/listing_pb";
import { MileageService } from "@holdfast/client/holdfast/mileage/v1/mileage_pb";
import { Payment_State, PaymentService } from "@holdfast/client/holdfast/payment/v1/payment_pb";
import {
  CreateReservationRequestSchema,
  Reservation_State,
  ReservationSchema,
  ReservationService,
  type CreateReservationRequest,
  type Reservation,
} from "@holdfast/client/holdfast/reservation/v1/reservation_pb";
import { ViewService } from "@holdfast/client/holdfast/view/v1/view_pb";

const PATIENCE_MS = 60_000;

const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

function client<S extends DescService>(service: S, name: string, role: string): Client<S> {
  return connect(service, process.env[`HOLDFAST_${name}_URL`] ?? "", process.env[`${role}_TOKEN`] ?? "");
}

const hosts = client(ListingService, "LISTING", "HOST");
const listings = client(ListingService, "LISTING", "CUSTOMER");
const reservations = client(ReservationService, "RESERVATION", "CUSTOMER");
const payments = client(PaymentService, "PAYMENT", "CUSTOMER");
const mileage = client(MileageService, "MILEAGE", "CUSTOMER");
const views = client(ViewService, "VIEW", "CUSTOMER");

/** As long as the servers allow: what calls this may be busy. */
function patient(): CallOptions {
  return { deadline: Date.now() + PATIENCE_MS };
}

function ok(what: string) {
  console.log("  ok", what);
}

async function please(misfortune: string) {
  console.log("?", misfortune);
  await input.next();
}

/** Asks again until the condition holds. */
async function eventually(what: string, condition: () => Promise<boolean>) {
  const limit = Date.now() + PATIENCE_MS;
  while (!(await condition())) {
    assert(Date.now() < limit, `not within a minute: ${what}`);
    await sleep(20);
  }
  ok(what);
}

async function refusal(call: Promise<unknown>): Promise<ServiceError> {
  const answer = await call.catch((error: ServiceError) => error);
  assert(answer instanceof Error, "not refused");
  return answer as ServiceError;
}

function day(ahead: number) {
  const then = new Date(Date.now() + ahead * 86_400_000);
  return { year: then.getFullYear(), month: then.getMonth() + 1, day: then.getDate() };
}

async function offer(): Promise<string> {
  const room = {
    displayName: "Hanok by the stream",
    kind: Listing_Kind.ROOM,
    price: { currencyCode: "KRW", units: 90_000n },
    defaultCapacity: 1,
    timeZone: "Asia/Seoul",
  };
  return (await hosts.createListing({ listing: room }, patient())).listing!.name;
}

function wish(listing: string, ahead: number): CreateReservationRequest {
  const stay = { checkInDate: day(ahead), checkOutDate: day(ahead + 2) };
  return create(CreateReservationRequestSchema, {
    reservation: { listing, slot: { case: "stay", value: stay }, units: 1, persons: 2 },
    paymentMethod: "pm_card_visa",
  });
}

async function book(request: CreateReservationRequest): Promise<Reservation> {
  const answer = await reservations.createReservation(request, patient());
  return answer.reservation!;
}

async function count(): Promise<number> {
  return (await reservations.listReservations({ pageSize: 500 }, patient())).reservations.length;
}

async function free(listing: string, ahead: number, options = patient()): Promise<number> {
  const dates = { startDate: day(ahead), endDate: day(ahead + 2) };
  return (await listings.queryAvailability({ name: listing, dates }, options)).availabilities[0]!.available;
}

async function miles(): Promise<bigint> {
  return (await mileage.getMileageAccount({ name: "users/me/mileageAccount" }, patient())).mileageAccount!.balance;
}

async function paid(booked: Reservation): Promise<Payment_State> {
  return (await payments.getPayment({ name: booked.payment }, patient())).payment!.state;
}

async function shown(booked: Reservation): Promise<Reservation_State | undefined> {
  try {
    const { trip } = await views.getTrip({ name: booked.name.replace("reservations/", "trips/") }, patient());
    return trip?.reservation?.state;
  } catch (error) {
    assert.equal(reason(error), "TRIP_NOT_FOUND");
    return undefined;
  }
}

async function aBooking(listing: string): Promise<Reservation> {
  assert.equal(await free(listing, 40), 1);
  const request = wish(listing, 40);
  const booked = await book(request);
  assert.equal(booked.state, Reservation_State.CONFIRMED);
  assert(request.requestId, "the client has named it");
  assert(equals(ReservationSchema, await book(request), booked));
  ok("confirmed, and a repeat gives the same answer");
  assert.equal(await paid(booked), Payment_State.APPROVED);
  assert.equal(await miles(), 1n);
  ok("paid, one mile earned");
  await eventually("the view shows it", async () => (await shown(booked)) === booked.state);
  return booked;
}

async function refusals(listing: string) {
  const taken = await refusal(book(wish(listing, 40)));
  assert.equal(taken.code, status.FAILED_PRECONDITION);
  assert.deepEqual([reason(taken), retryDelayMs(taken)], ["NO_AVAILABILITY", undefined]);
  const wrong = wish(listing, 40);
  wrong.reservation!.persons = -1;
  const invalid = detail(await refusal(book(wrong)), BadRequestSchema);
  assert.equal(invalid?.fieldViolations[0]?.field, "reservation.persons");
  ok("refused, with the reason and the field");
}

async function aLostAnswer(listing: string) {
  const before = await count();
  await please("lose the answer");
  assert.equal((await book(wish(listing, 50))).state, Reservation_State.CONFIRMED);
  assert.equal(await count(), before + 1);
  ok("an answer was lost, the call was repeated by itself, and there is one reservation");
}

async function anOutage(listing: string) {
  await please("freeze listing");
  const answered = free(listing, 60);
  assert.equal((await refusal(free(listing, 60, {}))).code, status.DEADLINE_EXCEEDED);
  await please("thaw listing");
  assert.equal(await answered, 1);
  ok("a call without a deadline ended by its default, a patient one was answered");

  const before = await count();
  const request = wish(listing, 60);
  await please("stop listing");
  const away = await refusal(book(request));
  assert.deepEqual([away.code, reason(away)], [status.UNAVAILABLE, "LISTING_UNAVAILABLE"]);
  await please("start listing");
  await eventually("told when to come back, and booked then", async () => {
    try {
      return (await book(request)).state === Reservation_State.CONFIRMED;
    } catch (error) {
      assert.equal((error as ServiceError).code, status.UNAVAILABLE);
      await sleep(retryDelayMs(error));
      return false;
    }
  });
  assert.equal((await book(request)).state, Reservation_State.CONFIRMED);
  assert.equal(await count(), before + 1);
  ok("one requestId, one reservation");
}

async function aCancellation(booked: Reservation) {
  const before = await miles();
  await reservations.cancelReservation({ name: booked.name }, patient());
  await eventually("cancelled, and the view knows", async () => (await shown(booked)) === Reservation_State.CANCELLED);
  await eventually("refunded", async () => (await paid(booked)) === Payment_State.CANCELLED);
  await eventually("the mile taken back", async () => (await miles()) === before - 1n);
  await eventually("the room free again", async () => (await free(booked.listing, 40)) === 1);
}

const listing = await offer();
const booked = await aBooking(listing);
await refusals(listing);
await aLostAnswer(listing);
await anOutage(listing);
await aCancellation(booked);
process.exit();
