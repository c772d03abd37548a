"""The database machinery: engines, transactions, statements, bulk SQL, the writer and migrations. It knows no noun."""
