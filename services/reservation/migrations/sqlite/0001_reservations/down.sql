DROP TABLE sagas;
DROP TABLE reservations;
