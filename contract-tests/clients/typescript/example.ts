// Books a room for two nights: node example.js listings/…
import { connect, reason } from "@holdfast/client";
import { ReservationService } from "@holdfast/client/holdfast/reservation/v1/reservation_pb";

function day(ahead: number) {
  const then = new Date(Date.now() + ahead * 86_400_000);
  return { year: then.getFullYear(), month: then.getMonth() + 1, day: then.getDate() };
}

const { HOLDFAST_RESERVATION_URL = "", CUSTOMER_TOKEN = "" } = process.env;
const reservations = connect(ReservationService, HOLDFAST_RESERVATION_URL, CUSTOMER_TOKEN);
const stay = { checkInDate: day(30), checkOutDate: day(32) };
try {
  const { reservation } = await reservations.createReservation({
    reservation: { listing: process.argv[2], slot: { case: "stay", value: stay }, units: 1, persons: 2 },
    paymentMethod: "pm_card_visa",
  });
  console.log(reservation?.name, reservation?.state);
} catch (error) {
  console.error("refused:", reason(error));
  process.exitCode = 1;
} finally {
  reservations.close();
}
